#include "support/service.hpp"

#include <atomic>

namespace tests {
namespace {

const std::string node = CHECKOUT "/node_modules/.bin/node";

/// Runs a command in the checkout until it has printed a line, or all; gives what it has printed.
std::string read_from(const std::vector<std::string>& command, bool all, std::unique_ptr<Process>& process) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("There is no pipe to be had.");
  process = std::make_unique<Process>(command, ends[1], CHECKOUT);
  close(ends[1]);
  std::string text;
  for (char byte = 0; read(ends[0], &byte, 1) == 1 && (all || byte != '\n');) text += byte;
  close(ends[0]);
  return text;
}

}  // namespace

Service::Service(const std::vector<std::string>& options) {
  std::vector<std::string> command{node, "src/cli.ts", "serve", "--listen", "127.0.0.1:0"};
  command.insert(command.end(), options.begin(), options.end());
  const std::string line = read_from(command, false, process_);
  const std::size_t at = line.find("http");
  if (at == std::string::npos) throw std::runtime_error("The service did not start: run `npm ci` first.");
  url_ = line.substr(at);
}

int Service::port() const { return std::stoi(url_.substr(url_.rfind(':') + 1)); }

const std::string& shared_url() {
  static const Service service;
  return service.url();
}

std::string new_session() {
  static std::atomic<int> count{0};
  return "session-" + std::to_string(++count);
}

std::string output_of(const std::string& program) {
  std::unique_ptr<Process> process;
  return read_from({node, "--input-type=module", "-e", program}, true, process);
}

}  // namespace tests
