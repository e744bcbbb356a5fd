#include "gyre/examples/kv_server/connection.h"

#include <utility>

#include "gyre/examples/kv_server/direct_answers.h"

namespace gyre::kv {
namespace {

// So much may wait to be sent before the client has to read.
constexpr size_t kHighWater = 1024 * 1024;

// Memory that a connection keeps for the next request that comes in pieces.
constexpr size_t kMostKept = 4 * 1024;

}  // namespace

void Connection::serve(const Shards& shards, std::shared_ptr<ServerState> state,
                       std::shared_ptr<IOStream> stream) {
  auto connection = std::make_shared<Connection>(shards, std::move(state), stream);
  // The callbacks belong to the stream, so they do not keep it.
  IOStream& kept = *stream;
  stream->set_drain_callback([connection, &kept] { connection->drained(kept); });
  stream
      ->set_read_callback([connection = std::move(connection), &kept](std::string_view bytes) {
        connection->received(kept, bytes);
      })
      .IgnoreError();  // a new stream is open, and nobody else reads
}

Connection::Connection(const Shards& shards, std::shared_ptr<ServerState> state,
                       const std::shared_ptr<IOStream>& stream)
    : shards_(shards),
      home_index_(shards.of(stream->loop())),
      home_(shards[home_index_]),
      stream_(stream),
      session_(std::move(state)) {}

void Connection::received(IOStream& stream, std::string_view bytes) {
  if (bytes.empty()) ended_ = true;
  if (rest_.empty()) {
    // The usual case: whole requests, answered where they lie.
    const size_t taken = answer(bytes);
    if (taken < bytes.size()) rest_ = bytes.substr(taken);
  } else {
    rest_.append(bytes);
  }
  go_on(stream);
}

void Connection::drained(IOStream& stream) {
  unread_output_ = false;
  go_on(stream);
}

void Connection::go_on(IOStream& stream) {
  if (!rest_.empty()) rest_.erase(0, answer(rest_));
  if (rest_.empty() && rest_.capacity() > kMostKept) rest_ = std::string();
  if (!owes_replies()) {
    busy_.reset();
  } else if (!busy_.has_value()) {
    busy_.emplace(stream.keep_busy());
  }
  if (batch_ == nullptr && (session_.closing || (ended_ && ready()))) {
    closes_when_sent_ = true;
    close_when_sent(stream);
  } else if (ready()) {
    stream.resume_reading();
  } else {
    stream.pause_reading();
  }
}

size_t Connection::answer(std::string_view bytes) {
  const auto some = shards_.size() == 1 ? &Connection::answer_here : &Connection::answer_in_batch;
  size_t taken = 0;
  while (ready() && taken < bytes.size()) {
    const size_t count = (this->*some)(bytes.substr(taken));
    if (count == 0) break;  // what is left is no whole request yet
    taken += count;
  }
  return taken;
}

size_t Connection::answer_here(std::string_view bytes) {
  DirectAnswers answers(home_);
  const size_t taken = take_requests(bytes, answers);
  if (!answers.empty()) claim_replies();
  return taken;
}

size_t Connection::answer_in_batch(std::string_view bytes) {
  batch_ = home_.take_batch();
  batch_->begin(shards_, home_index_);
  const size_t taken = take_requests(bytes, *batch_);
  visit_shards();
  return taken;
}

template <class Sink>
size_t Connection::take_requests(std::string_view bytes, Sink& sink) {
  size_t taken = 0;
  while (!session_.closing && !sink.full()) {
    const RequestParser::Outcome outcome = parser_.parse(bytes.substr(taken));
    if (outcome == RequestParser::Outcome::kIncomplete) break;
    if (outcome == RequestParser::Outcome::kError) {
      sink.add_error(parser_.error());
      session_.closing = true;
    } else {
      taken += parser_.size();
      if (!parser_.args().empty()) sink.add(parser_.args(), session_);
    }
  }
  return taken;
}

void Connection::claim_replies() {
  ++unsent_;
  home_.outbox().add(shared_from_this());
}

void Connection::send(std::string_view replies) {
  --unsent_;
  const std::shared_ptr<IOStream> stream = stream_.lock();
  if (!owes_replies()) busy_.reset();
  if (stream == nullptr || stream->closed()) return;
  stream->write(replies);
  unread_output_ = stream->write_buffer_size() > kHighWater;
  if (unread_output_) stream->pause_reading();
  close_when_sent(*stream);
}

void Connection::close_when_sent(IOStream& stream) {
  if (closes_when_sent_ && unsent_ == 0) stream.close_when_flushed();
}

}  // namespace gyre::kv
