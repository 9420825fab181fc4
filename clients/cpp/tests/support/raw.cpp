#include "support/raw.hpp"

#include <google/protobuf/any.pb.h>

namespace tests {

Raw::Raw() {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  url_ = "http://127.0.0.1:" + std::to_string(port);
}

Raw::~Raw() {
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
}

void Raw::fail(std::vector<grpc::Status> statuses) {
  const std::lock_guard<std::mutex> lock(mutex_);
  first_.assign(statuses.begin(), statuses.end());
}

std::vector<std::string> Raw::carried(const std::string& name) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::string> values;
  for (const auto& call : carried_) {
    const auto found = call.find(name);
    values.push_back(found == call.end() ? "" : found->second);
  }
  return values;
}

std::vector<std::string> Raw::request_ids() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return request_ids_;
}

grpc::Status Raw::GetState(grpc::ServerContext* context, const v1::GetStateRequest*, v1::GetStateResponse*) {
  return next(*context);
}

grpc::Status Raw::SetState(grpc::ServerContext* context, const v1::SetStateRequest* request,
                           v1::SetStateResponse* response) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    request_ids_.push_back(request->request_id());
  }
  response->mutable_entry()->set_key(request->key());
  *response->mutable_entry()->mutable_value() = request->value();
  return next(*context);
}

grpc::Status Raw::ForkSession(grpc::ServerContext* context, const v1::ForkSessionRequest* request,
                              v1::ForkSessionResponse* response) {
  response->mutable_session()->set_session_id(request->new_session_id());
  response->mutable_session()->set_revision(1);
  return next(*context);
}

grpc::Status Raw::ListState(grpc::ServerContext* context, const v1::ListStateRequest*,
                            v1::ListStateResponse*) {
  return next(*context);
}

grpc::Status Raw::Batch(grpc::ServerContext* context, const v1::BatchRequest* request,
                        v1::BatchResponse* response) {
  for (int index = 0; index < request->operations_size(); ++index) response->add_results();
  return next(*context);
}

grpc::Status Raw::WatchSession(grpc::ServerContext* context, const v1::WatchSessionRequest* request,
                               grpc::ServerWriter<v1::WatchSessionResponse>* writer) {
  const grpc::Status status = next(*context);
  return status.ok() && watch ? watch(*request, *writer, *context) : status;
}

grpc::Status Raw::Pipeline(grpc::ServerContext* context,
                           grpc::ServerReaderWriter<v1::PipelineResponse, v1::PipelineRequest>* stream) {
  ++pipelines_;
  const grpc::Status status = answer(*context, *stream);
  --pipelines_;
  return status;
}

grpc::Status Raw::answer(grpc::ServerContext& context,
                         grpc::ServerReaderWriter<v1::PipelineResponse, v1::PipelineRequest>& stream) {
  v1::PipelineRequest request;
  while (stream.Read(&request)) {
    for (const auto& operation : request.operations()) {
      const std::lock_guard<std::mutex> lock(mutex_);
      request_ids_.push_back(operation.set_state().request_id());
    }
    // Done, but not answered.
    const grpc::Status status = next(context);
    if (!status.ok()) return status;
    v1::PipelineResponse response;
    for (const auto& operation : request.operations()) {
      response.add_results()->mutable_set_state()->mutable_entry()->set_key(operation.set_state().key());
    }
    stream.Write(response);
  }
  return grpc::Status::OK;
}

grpc::Status Raw::next(grpc::ServerContext& context) {
  const std::lock_guard<std::mutex> lock(mutex_);
  auto& call = carried_.emplace_back();
  for (const auto& [name, value] : context.client_metadata()) {
    call.emplace(std::string(name.data(), name.size()), std::string(value.data(), value.size()));
  }
  if (first_.empty()) return grpc::Status::OK;
  const grpc::Status status = first_.front();
  first_.pop_front();
  return status;
}

grpc::Status status_with(grpc::StatusCode code, const v1::ErrorDetail& detail) {
  google::protobuf::Any other, ours;
  other.set_type_url("type.googleapis.com/google.rpc.Help");
  ours.PackFrom(detail);
  // google.rpc.Status: code = 3, message = "m", another detail first, then ours. Each is shorter than 128
  // bytes.
  std::string status("\x08\x03\x12\x01m", 5);
  for (const auto& part : {other.SerializeAsString(), ours.SerializeAsString()}) {
    EXPECT_LT(part.size(), 128u);
    status += std::string("\x1a") + static_cast<char>(part.size()) + part;
  }
  return {code, "what the service says", status};
}

}  // namespace tests
