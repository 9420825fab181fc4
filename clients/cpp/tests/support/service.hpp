/// @file
/// The service itself, from the checkout, as a process; and what tests expect of calls.
#pragma once

#include <gtest/gtest.h>

#include <agenterra/workflow_state.hpp>
#include <thread>

#include "process.hpp"

namespace tests {

using namespace agenterra::workflow_state;
using namespace std::chrono_literals;

/// A running service.
class Service {
 public:
  explicit Service(const std::vector<std::string>& options = {});

  const std::string& url() const { return url_; }
  /// Its port on 127.0.0.1.
  int port() const;

 private:
  std::unique_ptr<Process> process_;
  std::string url_;
};

/// The URL of a service that all tests of this run share.
const std::string& shared_url();

/// A session id that no other test has.
std::string new_session();

/// What a program of the service's language prints, run in the checkout.
std::string output_of(const std::string& program);

/// The error that something throws.
template <class Function>
WorkflowStateError failure_of(const Function& function) {
  try {
    function();
  } catch (const WorkflowStateError& error) {
    return error;
  }
  ADD_FAILURE() << "It has not failed.";
  return {Reason::invalid_request, "none"};
}

/// Waits for something to come true, but not for ever.
template <class Condition>
void until(const Condition& condition) {
  const auto end = std::chrono::steady_clock::now() + 20s;
  while (!condition() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(1ms);
}

/// How long something takes.
template <class Function>
Span time_of(const Function& function) {
  const auto began = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration_cast<Span>(std::chrono::steady_clock::now() - began);
}

}  // namespace tests
