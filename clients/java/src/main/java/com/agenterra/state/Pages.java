package com.agenterra.state;

import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.function.Function;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/**
 * A listing: iterating gives its items and fetches a page when it needs one, each time from the
 * beginning.
 *
 * @param <T> the type of the items
 */
public final class Pages<T> implements Iterable<T> {
  private final Function<String, Page<T>> fetch;
  private final String pageToken;

  Pages(String pageToken, Function<String, Page<T>> fetch) {
    this.pageToken = pageToken;
    this.fetch = fetch;
  }

  @Override
  public Iterator<T> iterator() {
    return stream().iterator();
  }

  /** The items as a stream, whose pages are fetched as they are needed. */
  public Stream<T> stream() {
    return StreamSupport.stream(pages().spliterator(), false)
        .flatMap(page -> page.items().stream());
  }

  /** All items. */
  public List<T> toList() {
    return stream().toList();
  }

  /** The listing as pages; the {@code nextPageToken} of one begins a listing after it. */
  public Iterable<Page<T>> pages() {
    return () -> new PageIterator();
  }

  private final class PageIterator implements Iterator<Page<T>> {
    private String token = pageToken;
    private boolean isOver;

    @Override
    public boolean hasNext() {
      return !isOver;
    }

    @Override
    public Page<T> next() {
      if (isOver) {
        throw new NoSuchElementException("That was the last page.");
      }
      Page<T> page = fetch.apply(token);
      token = page.nextPageToken();
      isOver = token.isEmpty();
      return page;
    }
  }
}
