/// @file
/// What gives one thing after another: listings, watches, pipelines.
#pragma once

#include <agenterra/workflow_state/operations.hpp>
#include <functional>
#include <iterator>
#include <memory>

namespace agenterra::workflow_state {

class Client;

namespace detail {

/// An input iterator over whatever has `std::optional<T> next()`.
template <class Source, class T>
class NextIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using pointer = T*;
  using reference = T&;

  NextIterator() = default;
  explicit NextIterator(Source* source) : source_(source) { ++*this; }

  T& operator*() { return *current_; }
  T* operator->() { return &*current_; }
  NextIterator& operator++() {
    current_ = source_->next();
    if (!current_) source_ = nullptr;
    return *this;
  }
  void operator++(int) { ++*this; }
  bool operator==(const NextIterator& other) const { return source_ == other.source_; }
  bool operator!=(const NextIterator& other) const { return source_ != other.source_; }

 private:
  Source* source_ = nullptr;
  std::optional<T> current_;
};

}  // namespace detail

/// A page of a listing.
template <class T>
struct Page {
  std::vector<T> items;
  /// Asks for the next page; empty: this was the last.
  std::string next_page_token;
};

/// A listing: items that are fetched a page at a time, when they are asked for. It is gone through once.
///
///     for (const Entry& entry : client.list_state("cart-1")) ...
template <class T>
class Listing {
 public:
  using Fetch = std::function<Page<T>(const std::string& page_token)>;

  Listing(Fetch fetch, std::string page_token) : fetch_(std::move(fetch)), token_(std::move(page_token)) {}

  /// The next page; none: there are no more. Its `next_page_token` begins a listing after it.
  std::optional<Page<T>> next_page() {
    if (ended_) return std::nullopt;
    Page<T> page = fetch_(token_);
    token_ = page.next_page_token;
    ended_ = token_.empty();
    return page;
  }

  /// The next item; none: there are no more.
  std::optional<T> next() {
    while (at_ >= items_.size()) {
      std::optional<Page<T>> page = next_page();
      if (!page) return std::nullopt;
      items_ = std::move(page->items);
      at_ = 0;
    }
    return std::optional<T>(std::move(items_[at_++]));
  }

  /// All items that are left.
  std::vector<T> all() {
    std::vector<T> items;
    while (std::optional<T> item = next()) items.push_back(std::move(*item));
    return items;
  }

  detail::NextIterator<Listing, T> begin() { return detail::NextIterator<Listing, T>(this); }
  detail::NextIterator<Listing, T> end() { return {}; }

 private:
  Fetch fetch_;
  std::string token_;
  std::vector<T> items_;
  std::size_t at_ = 0;
  bool ended_ = false;
};

/// What happens to one session, in order, without a gap and nothing twice, over as many connections as it
/// takes, until it is closed: by `close`, by its destructor, or with its client, then with `shutting_down`.
///
///     for (const WatchMessage& message : watch) ...
///
/// It is for one reader; `close` is for every thread.
class SessionWatch {
 public:
  SessionWatch(SessionWatch&&) noexcept;
  SessionWatch& operator=(SessionWatch&&) noexcept;
  ~SessionWatch();

  /// Waits for the next message; none: it was closed.
  std::optional<WatchMessage> next();

  /// Ends it, also while another thread waits for what comes next.
  void close();

  detail::NextIterator<SessionWatch, WatchMessage> begin() {
    return detail::NextIterator<SessionWatch, WatchMessage>(this);
  }
  detail::NextIterator<SessionWatch, WatchMessage> end() { return {}; }

 private:
  friend class Client;
  struct State;
  explicit SessionWatch(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

/// What happens to all sessions that match, from now on, over one connection: it throws `store_unavailable`
/// when that is lost, as a gap could not be closed. It is for one reader; `close` is for every thread.
class SessionsWatch {
 public:
  SessionsWatch(SessionsWatch&&) noexcept;
  SessionsWatch& operator=(SessionsWatch&&) noexcept;
  ~SessionsWatch();

  /// Waits for the next change; none: it was closed.
  std::optional<SessionChange> next();

  /// Ends it, also while another thread waits for what comes next.
  void close();

  detail::NextIterator<SessionsWatch, SessionChange> begin() {
    return detail::NextIterator<SessionsWatch, SessionChange>(this);
  }
  detail::NextIterator<SessionsWatch, SessionChange> end() { return {}; }

 private:
  friend class Client;
  struct State;
  explicit SessionsWatch(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

/// Batches over one stream, the fastest way in: one list of results for each batch, in order.
///
/// After a lost connection what is not answered is sent again, and done once: writes carry request ids. It
/// gives up after as many connections in a row that answered nothing as `Retry::attempts` says. What is sent
/// waits in memory until it is answered, so receive while you send, from the same thread or from another. Of
/// writes that are not answered when it is closed nobody can tell whether they were made.
class Pipeline {
 public:
  Pipeline(Pipeline&&) noexcept;
  Pipeline& operator=(Pipeline&&) noexcept;
  ~Pipeline();

  /// Sends a batch; does not wait for anything.
  void send(const std::vector<Operation>& operations);

  /// Says that no more batches come.
  void finish();

  /// Waits for the results of the oldest batch that is not answered; none: after `finish`, when all are, or
  /// closed.
  std::optional<std::vector<Result>> receive();

  /// Ends it, also while another thread waits.
  void close();

 private:
  friend class Client;
  struct State;
  explicit Pipeline(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace agenterra::workflow_state
