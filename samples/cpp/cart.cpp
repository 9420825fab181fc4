/// `cart [URL]`: a workflow that stops and goes on, as samples/cart.ts is in TypeScript.
///
/// Each of its three runs is a process of its own, with its own connection; between them the cart lives in
/// the service.

#include <agenterra/workflow_state.hpp>
#include <iostream>

#include "process.hpp"

using namespace agenterra::workflow_state;

namespace {

const std::string cart = "shopping-cart";
const std::string copy = cart + "-copy";

/// A value as the sample in TypeScript shows it.
std::string shown(const Value& value) {
  if (value.is_string()) return "'" + value.get<std::string>() + "'";
  if (!value.is_structured()) return value.dump();
  std::string members;
  for (const auto& [name, member] : value.items()) {
    members += (members.empty() ? "" : ", ") + (value.is_object() ? name + ": " : "") + shown(member);
  }
  return value.is_object() ? "{ " + members + " }" : "[ " + members + " ]";
}

std::string joined(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : ", ") + item;
  return text;
}

std::string shown(const std::optional<Time>& time) { return time ? to_string(*time) : "never"; }

Value state_of(Client& client, const std::string& session_id) {
  const std::optional<Session> session = client.get_session(session_id);
  return session ? Value(session->state) : Value::object();
}

void fill(Client& client) {
  // What a run of this sample that was interrupted may have left.
  client.delete_session(cart);
  client.delete_session(copy);

  client.set_state(cart, "shopping_list", {"milk", "bread"});
  client.set_state(cart, "total_items", 2);

  std::cout << "  created      " << shown(client.get_session(cart).value().create_time) << '\n';
}

void add(Client& client) {
  client.fork_session(cart, copy);

  // Read, change, set: fine as long as nobody else writes to the cart meanwhile.
  std::vector<std::string> items = client.get_state(cart, "shopping_list").value_or(Value::array());
  std::cout << "  found        " << joined(items) << '\n';
  items.push_back("eggs");
  client.set_state(cart, "shopping_list", items);
  client.set_state(cart, "total_items", items.size());
  std::cout << "  read and set " << shown(state_of(client, cart)) << '\n';

  // The safe way, here on the copy: one atomic commit that the service computes, whoever else writes.
  client.commit(Commit(copy).append("shopping_list", {"eggs"}).increment("total_items"));
  std::cout << "  one commit   " << shown(state_of(client, copy)) << '\n';
  client.delete_session(copy);
}

void check(Client& client) {
  const Value state = state_of(client, cart);
  if (state != Value{{"shopping_list", {"milk", "bread", "eggs"}}, {"total_items", 3}}) {
    throw std::runtime_error("The cart is not what the runs before have left.");
  }
  std::cout << "  list         " << joined(state["shopping_list"]) << '\n';
  std::cout << "  total        " << state["total_items"] << '\n';
  std::cout << "  last updated " << shown(client.get_session(cart).value().update_time) << '\n';
}

void run_all(const std::string& program, const std::string& url) {
  for (const char* number : {"1", "2", "3"}) {
    std::cout << std::flush;
    if (Process({program, "--run", number, url}).wait() != 0) {
      throw std::runtime_error(std::string("Run ") + number + " has failed.");
    }
  }
  Client client(url);
  std::cout << "sessions       " << shown(Value(client.get_all_session_ids())) << '\n';
  std::cout << "deleted        " << shown(Value(client.delete_session(cart))) << '\n';
}

void run_one(const std::string& number, const std::string& url) {
  std::cout << "run " << number << ", process " << getpid() << '\n';
  Client client(url);
  const std::map<std::string, void (*)(Client&)> runs{{"1", fill}, {"2", add}, {"3", check}};
  runs.at(number)(client);
}

}  // namespace

int main(int count, char** arguments) {
  const std::vector<std::string> given(arguments + 1, arguments + count);
  try {
    if (given.size() == 3 && given[0] == "--run") {
      run_one(given[1], given[2]);
    } else {
      with_server(given.empty() ? "" : given[0],
                  [&](const std::string& url) { run_all("/proc/self/exe", url); });
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
