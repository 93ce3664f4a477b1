#include "transport/base/error.h"
#include "transport/wire.h"

namespace cohort::wire_form {
namespace {

std::string str(capnp::Text::Reader t) {
  return {t.begin(), t.size()};
}
std::string str(capnp::Data::Reader d) {
  return {reinterpret_cast<const char*>(d.begin()), d.size()};
}

template <class T, class List>
std::vector<T> numbers(List list) {
  std::vector<T> out;
  out.reserve(list.size());
  for (auto value : list) out.push_back(value);
  return out;
}
std::vector<std::string> strings(capnp::List<capnp::Text>::Reader list) {
  std::vector<std::string> out;
  out.reserve(list.size());
  for (auto value : list) out.push_back(str(value));
  return out;
}
std::vector<VersionRun> runs(capnp::List<wire::VersionRun>::Reader list) {
  std::vector<VersionRun> out;
  out.reserve(list.size());
  for (auto run : list) out.push_back({run.getVersion(), run.getCount()});
  return out;
}

Role from_wire(wire::Role role) {
  switch (role) {
    case wire::Role::ROLLOUT:
      return Role::rollout;
    case wire::Role::REWARD:
      return Role::reward;
    case wire::Role::LEARNER:
      return Role::learner;
    case wire::Role::OBSERVER:
      return Role::observer;
  }
  fail("message: unknown role {}", static_cast<unsigned>(role));
}

VerdictKind from_wire(wire::VerdictKind kind) {
  switch (kind) {
    case wire::VerdictKind::PASSED:
      return VerdictKind::passed;
    case wire::VerdictKind::FAILED:
      return VerdictKind::failed;
    case wire::VerdictKind::NO_ANSWER:
      return VerdictKind::no_answer;
    case wire::VerdictKind::COMPILE_ERROR:
      return VerdictKind::compile_error;
    case wire::VerdictKind::CANDIDATE_TIMEOUT:
      return VerdictKind::candidate_timeout;
    case wire::VerdictKind::CANDIDATE_MEMORY:
      return VerdictKind::candidate_memory;
    case wire::VerdictKind::CANDIDATE_OUTPUT:
      return VerdictKind::candidate_output;
    case wire::VerdictKind::CANDIDATE_CRASH:
      return VerdictKind::candidate_crash;
    case wire::VerdictKind::UNKNOWN:
      return VerdictKind::unknown;
    case wire::VerdictKind::INFRA_ERROR:
      return VerdictKind::infra_error;
    case wire::VerdictKind::CANCELLED:
      return VerdictKind::cancelled;
    case wire::VerdictKind::BUDGET_EXHAUSTED:
      return VerdictKind::budget_exhausted;
  }
  fail("message: unknown verdict {}", static_cast<unsigned>(kind));
}

DType from_wire(wire::DType dtype) {
  switch (dtype) {
    case wire::DType::F32:
      return DType::f32;
    case wire::DType::BF16:
      return DType::bf16;
    case wire::DType::F16:
      return DType::f16;
  }
  fail("message: unknown dtype {}", static_cast<unsigned>(dtype));
}

// ---- the conversation
// ----------------------------------------------------------------------------------------

Hello get(wire::Hello::Reader in) {
  Hello m;
  m.role = from_wire(in.getRole());
  m.name = str(in.getName());
  m.run_id = str(in.getRunId());
  m.host = str(in.getHost());
  m.pid = in.getPid();
  m.rank = in.getRank();
  m.ranks = in.getRanks();
  m.version = in.getVersion();
  m.protocol = in.getProtocol();
  for (auto held : in.getHeld()) m.held.push_back({held.getGroup(), numbers<uint32_t>(held.getIndices())});
  m.held_jobs = numbers<uint64_t>(in.getHeldJobs());
  return m;
}

Welcome get(wire::Welcome::Reader in) {
  return {str(in.getRunId()),  in.getEpoch(),     str(in.getConfigToml()),
          in.getHeartbeatMs(), in.getTimeoutMs(), in.getTrainedSteps()};
}

Heartbeat get(wire::Heartbeat::Reader in) {
  Heartbeat m;
  m.version = in.getVersion();
  m.active = in.getActive();
  m.queued = in.getQueued();
  m.tokens = in.getTokens();
  m.busy_s = in.getBusyS();
  m.wait_s = in.getWaitS();
  m.cpu_s = in.getCpuS();
  m.rss_bytes = in.getRssBytes();
  return m;
}

// ---- rollout
// ---------------------------------------------------------------------------------------------------

Lease get(wire::Lease::Reader in) {
  Lease m;
  m.group = in.getGroup();
  m.prompt_json = str(in.getPromptJson());
  m.indices = numbers<uint32_t>(in.getIndices());
  auto sampling = in.getSampling();
  m.sampling.temperature = sampling.getTemperature();
  m.sampling.top_p = sampling.getTopP();
  m.sampling.top_k = sampling.getTopK();
  m.sampling.min_p = sampling.getMinP();
  m.sampling.max_tokens = sampling.getMaxTokens();
  m.sampling.stop = strings(sampling.getStop());
  m.sampling.stop_token_ids = numbers<int32_t>(sampling.getStopTokenIds());
  m.sampling.ignore_eos = sampling.getIgnoreEos();
  m.sampling.seed = sampling.getSeed();
  m.eval = in.getEval();
  return m;
}

Completion get(wire::Completion::Reader in) {
  Completion m;
  m.group = in.getGroup();
  m.index = in.getIndex();
  m.prompt_ids = numbers<int32_t>(in.getPromptIds());
  m.token_ids = numbers<int32_t>(in.getTokenIds());
  m.logprobs = numbers<float>(in.getLogprobs());
  m.versions = runs(in.getVersions());
  m.text = str(in.getText());
  m.finish_reason = str(in.getFinishReason());
  m.seconds = in.getSeconds();
  return m;
}

LeaseReturned get(wire::LeaseReturned::Reader in) {
  return {in.getGroup(), numbers<uint32_t>(in.getIndices()), str(in.getError())};
}

// ---- reward
// ----------------------------------------------------------------------------------------------------

GradeJob get(wire::GradeJob::Reader in) {
  GradeJob m;
  m.job = in.getJob();
  m.group = in.getGroup();
  m.index = in.getIndex();
  m.record_json = str(in.getRecordJson());
  m.prompt_text = str(in.getPromptText());
  m.completion = str(in.getCompletion());
  m.finish_reason = str(in.getFinishReason());
  m.completion_tokens = in.getCompletionTokens();
  m.deadline_step = in.getDeadlineStep();
  return m;
}

Graded get(wire::Graded::Reader in) {
  Graded m;
  m.job = in.getJob();
  m.group = in.getGroup();
  m.index = in.getIndex();
  for (auto part : in.getParts()) {
    auto v = part.getVerdict();
    m.parts.push_back({str(part.getName()),
                       part.getWeight(),
                       {from_wire(v.getKind()), v.getScore(), str(v.getReason()), str(v.getEvidence()),
                        str(v.getHash()), v.getReused(), v.getCalls(), v.getTokens()},
                       part.getSeconds()});
  }
  m.seconds = in.getSeconds();
  m.waited_s = in.getWaitedS();
  return m;
}

// ---- learner
// ---------------------------------------------------------------------------------------------------

Batch get(wire::Batch::Reader in) {
  Batch m;
  m.step = in.getStep();
  for (auto group : in.getGroups())
    m.groups.push_back({group.getGroup(), numbers<double>(group.getRewards())});
  for (auto s : in.getSamples()) {
    Sample sample;
    sample.group = s.getGroup();
    sample.index = s.getIndex();
    sample.prompt_ids = numbers<int32_t>(s.getPromptIds());
    sample.token_ids = numbers<int32_t>(s.getTokenIds());
    sample.logprobs = numbers<float>(s.getLogprobs());
    sample.versions = runs(s.getVersions());
    sample.reward = s.getReward();
    sample.truncated = s.getTruncated();
    m.samples.push_back(std::move(sample));
  }
  m.total_tokens = in.getTotalTokens();
  m.total_samples = in.getTotalSamples();
  return m;
}

Trained get(wire::Trained::Reader in) {
  Trained m;
  m.step = in.getStep();
  for (auto metric : in.getMetrics()) m.metrics.push_back({str(metric.getName()), metric.getValue()});
  return m;
}

}  // namespace

Message read(wire::Envelope::Reader in) {
  switch (in.which()) {
    case wire::Envelope::HELLO:
      return get(in.getHello());
    case wire::Envelope::WELCOME:
      return get(in.getWelcome());
    case wire::Envelope::REFUSED:
      return Refused{str(in.getRefused().getReason())};
    case wire::Envelope::HEARTBEAT:
      return get(in.getHeartbeat());
    case wire::Envelope::HEARTBEAT_ACK:
      return HeartbeatAck{};
    case wire::Envelope::ACK:
      return Ack{in.getAck().getSeq()};
    case wire::Envelope::GOODBYE:
      return Goodbye{str(in.getGoodbye().getReason())};
    case wire::Envelope::SHUTDOWN: {
      auto m = in.getShutdown();
      return Shutdown{m.getDrain(), str(m.getReason())};
    }
    case wire::Envelope::HELLO_AGAIN:
      return HelloAgain{};
    case wire::Envelope::CREDIT:
      return Credit{in.getCredit().getGranted()};
    case wire::Envelope::LEASE:
      return get(in.getLease());
    case wire::Envelope::COMPLETION:
      return get(in.getCompletion());
    case wire::Envelope::LEASE_RETURNED:
      return get(in.getLeaseReturned());
    case wire::Envelope::WEIGHTS_HELD:
      return WeightsHeld{in.getWeightsHeld().getVersion()};
    case wire::Envelope::GRADE_JOB:
      return get(in.getGradeJob());
    case wire::Envelope::GRADED:
      return get(in.getGraded());
    case wire::Envelope::CANCEL: {
      auto m = in.getCancel();
      return Cancel{m.getGroup(), m.getJob()};
    }
    case wire::Envelope::BATCH_REQUEST:
      return BatchRequest{in.getBatchRequest().getStep()};
    case wire::Envelope::BATCH:
      return get(in.getBatch());
    case wire::Envelope::NO_MORE_BATCHES:
      return NoMoreBatches{str(in.getNoMoreBatches().getReason())};
    case wire::Envelope::TRAINED:
      return get(in.getTrained());
    case wire::Envelope::CHECKPOINTED: {
      auto m = in.getCheckpointed();
      return Checkpointed{m.getNextStep(), str(m.getPath())};
    }
    case wire::Envelope::PUBLISHED: {
      auto m = in.getPublished();
      return Published{m.getVersion(), str(m.getEndpoint()), m.getBytes()};
    }
    case wire::Envelope::WEIGHTS_AVAILABLE: {
      auto m = in.getWeightsAvailable();
      return WeightsAvailable{m.getVersion(), str(m.getEndpoint()), m.getBytes()};
    }
    case wire::Envelope::STATUS_REQUEST:
      return StatusRequest{};
    case wire::Envelope::STATUS:
      return Status{str(in.getStatus().getJson())};
  }
  fail("message: unknown kind {} (a newer build sent it?)", static_cast<unsigned>(in.which()));
}

WeightManifest read(wire::WeightManifest::Reader in) {
  WeightManifest m;
  m.version = in.getVersion();
  m.total_bytes = in.getTotalBytes();
  m.checksum = in.getChecksum();
  for (auto tensor : in.getTensors())
    m.tensors.push_back({str(tensor.getName()), from_wire(tensor.getDtype()),
                         numbers<int64_t>(tensor.getShape()), tensor.getOffset(), tensor.getBytes()});
  return m;
}

}  // namespace cohort::wire_form
