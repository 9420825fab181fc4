/// The program of the interop matrix: `interop COMMAND URL PROTOCOL PREFIX FILE`.

#include <fstream>
#include <iostream>

#include "behave.hpp"

namespace interop {
namespace {

using namespace agenterra::workflow_state;

std::optional<std::string> fault_of(const std::optional<Value>& got, const Value& expected) {
  if (!got) return "is missing";
  if (!same(*got, expected)) return "is " + shown(*got) + " in place of " + shown(expected);
  return std::nullopt;
}

void write(Client& client, const std::string& session, const Value& vectors) {
  for (const Value& vector : vectors) {
    std::optional<std::string> fault;
    try {
      client.set_state(session, vector.at("key"), vector.at("value"));
    } catch (const WorkflowStateError& error) {
      fault = error.what();
    }
    print(vector.at("name"), fault);
  }
}

void read(Client& client, const std::string& session, const Value& vectors) {
  std::map<std::string, Value> listed;
  for (Entry& entry : client.list_state(session)) listed.emplace(entry.key, std::move(entry.value));
  for (const Value& vector : vectors) {
    const std::string key = vector.at("key");
    const Value& expected = vector.at("value");
    std::optional<std::string> fault;
    try {
      fault = fault_of(client.get_state(session, key), expected);
      if (!fault) {
        const auto found = listed.find(key);
        fault = fault_of(found == listed.end() ? std::nullopt : std::make_optional<Value>(found->second),
                         expected);
        if (fault) fault = "in the listing it " + *fault;
      }
    } catch (const WorkflowStateError& error) {
      fault = error.what();
    }
    print(vector.at("name"), fault);
  }
}

int run(const std::vector<std::string>& arguments) {
  if (arguments.size() != 5 || arguments[2] != "grpc") {
    std::cerr << "usage: interop write|read|behave URL grpc PREFIX FILE\n";
    return 2;
  }
  const std::string& command = arguments[0];
  const std::string& url = arguments[1];
  const std::string& prefix = arguments[3];
  std::ifstream input(arguments[4], std::ios::binary);
  const Value file = Value::parse(input);
  if (command == "behave") {
    behave(url, prefix, file);
    return 0;
  }
  Client client(url);
  if (command == "write") {
    write(client, prefix, file.at("vectors"));
  } else if (command == "read") {
    read(client, prefix, file.at("vectors"));
  } else {
    std::cerr << "There is no such command.\n";
    return 2;
  }
  return 0;
}

}  // namespace

void print(const std::string& name, const std::optional<std::string>& fault) {
  Value line{{"name", name}, {"ok", !fault}};
  if (fault) line["message"] = *fault;
  std::cout << line.dump(-1, ' ', true, Value::error_handler_t::replace) << std::endl;
}

}  // namespace interop

int main(int count, char** arguments) {
  try {
    return interop::run({arguments + 1, arguments + count});
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
