/// @file
/// Processes of the samples: the runs of a workflow, and the service that they use.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

extern char** environ;

/// A program in a process of its own.
class Process {
 public:
  /// Starts it; with a file its standard output goes there, and it runs in that folder.
  explicit Process(const std::vector<std::string>& command, int output = -1, const char* folder = nullptr) {
    std::vector<char*> arguments;
    for (const std::string& part : command) arguments.push_back(const_cast<char*>(part.c_str()));
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (output >= 0) posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    if (folder != nullptr) posix_spawn_file_actions_addchdir_np(&actions, folder);
    const int failure = posix_spawn(&id_, arguments[0], &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failure != 0) throw std::runtime_error("A process could not be started: " + command[0]);
  }
  ~Process() {
    if (id_ <= 0) return;
    kill(id_, SIGTERM);
    wait();
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// Its exit status, when it has ended.
  int wait() {
    int status = 0;
    waitpid(std::exchange(id_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  pid_t id_ = -1;
};

/// Calls a function with the URL of a service; one that was started for it is stopped afterwards.
template <class Function>
void with_server(const std::string& url, const Function& run) {
  if (!url.empty()) return run(url);
  const std::string node = CHECKOUT "/node_modules/.bin/node";
  if (access(node.c_str(), X_OK) != 0) {
    throw std::runtime_error("The service needs its packages: run `npm ci` in the checkout first.");
  }
  int ends[2];
  // Closed in all that is started from here, but for what it is given as.
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("There is no pipe to be had.");
  const Process server({node, "src/cli.ts", "serve", "--listen", "127.0.0.1:0"}, ends[1], CHECKOUT);
  close(ends[1]);
  // "listening on http://127.0.0.1:PORT"
  std::string line;
  for (char byte = 0; read(ends[0], &byte, 1) == 1 && byte != '\n';) line += byte;
  if (line.find("http://") == std::string::npos) throw std::runtime_error("The service did not start.");
  run(line.substr(line.find("http://")));
  close(ends[0]);
}
