#include "transport/wire.h"

#include <stdexcept>

namespace cohort::wire_form {
namespace {

capnp::Text::Reader text(const std::string& s) {
  return {s.c_str(), s.size()};
}
capnp::Data::Reader data(const std::string& s) {
  return {reinterpret_cast<const capnp::byte*>(s.data()), s.size()};
}

// `list` is what init…(n) returned for `values`.
template <class List, class T>
void fill(List list, const std::vector<T>& values) {
  for (size_t i = 0; i < values.size(); ++i) list.set(static_cast<unsigned>(i), values[i]);
}
template <class List>
void fill_text(List list, const std::vector<std::string>& values) {
  for (size_t i = 0; i < values.size(); ++i) list.set(static_cast<unsigned>(i), text(values[i]));
}
template <class List>
void fill_runs(List list, const std::vector<VersionRun>& runs) {
  for (size_t i = 0; i < runs.size(); ++i) {
    list[static_cast<unsigned>(i)].setVersion(runs[i].version);
    list[static_cast<unsigned>(i)].setCount(runs[i].count);
  }
}
template <class T>
unsigned count(const std::vector<T>& v) {
  return static_cast<unsigned>(v.size());
}

wire::Role to_wire(Role role) {
  switch (role) {
    case Role::rollout:
      return wire::Role::ROLLOUT;
    case Role::reward:
      return wire::Role::REWARD;
    case Role::learner:
      return wire::Role::LEARNER;
    case Role::observer:
      return wire::Role::OBSERVER;
  }
  throw std::logic_error("role out of range");
}

wire::VerdictKind to_wire(VerdictKind kind) {
  switch (kind) {
    case VerdictKind::passed:
      return wire::VerdictKind::PASSED;
    case VerdictKind::failed:
      return wire::VerdictKind::FAILED;
    case VerdictKind::no_answer:
      return wire::VerdictKind::NO_ANSWER;
    case VerdictKind::compile_error:
      return wire::VerdictKind::COMPILE_ERROR;
    case VerdictKind::candidate_timeout:
      return wire::VerdictKind::CANDIDATE_TIMEOUT;
    case VerdictKind::candidate_memory:
      return wire::VerdictKind::CANDIDATE_MEMORY;
    case VerdictKind::candidate_output:
      return wire::VerdictKind::CANDIDATE_OUTPUT;
    case VerdictKind::candidate_crash:
      return wire::VerdictKind::CANDIDATE_CRASH;
    case VerdictKind::unknown:
      return wire::VerdictKind::UNKNOWN;
    case VerdictKind::infra_error:
      return wire::VerdictKind::INFRA_ERROR;
    case VerdictKind::cancelled:
      return wire::VerdictKind::CANCELLED;
    case VerdictKind::budget_exhausted:
      return wire::VerdictKind::BUDGET_EXHAUSTED;
  }
  throw std::logic_error("verdict out of range");
}

wire::DType to_wire(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return wire::DType::F32;
    case DType::bf16:
      return wire::DType::BF16;
    case DType::f16:
      return wire::DType::F16;
  }
  throw std::logic_error("dtype out of range");
}

// ---- the conversation
// ----------------------------------------------------------------------------------------

void put(wire::Envelope::Builder e, const Hello& m) {
  auto out = e.initHello();
  out.setRole(to_wire(m.role));
  out.setName(text(m.name));
  out.setRunId(text(m.run_id));
  out.setHost(text(m.host));
  out.setPid(m.pid);
  out.setRank(m.rank);
  out.setRanks(m.ranks);
  out.setVersion(m.version);
  out.setProtocol(m.protocol);
  auto held = out.initHeld(count(m.held));
  for (unsigned i = 0; i < held.size(); ++i) {
    held[i].setGroup(m.held[i].group);
    fill(held[i].initIndices(count(m.held[i].indices)), m.held[i].indices);
  }
  fill(out.initHeldJobs(count(m.held_jobs)), m.held_jobs);
}

void put(wire::Envelope::Builder e, const Welcome& m) {
  auto out = e.initWelcome();
  out.setRunId(text(m.run_id));
  out.setEpoch(m.epoch);
  out.setConfigToml(text(m.config_toml));
  out.setHeartbeatMs(m.heartbeat_ms);
  out.setTimeoutMs(m.timeout_ms);
  out.setTrainedSteps(m.trained_steps);
}

void put(wire::Envelope::Builder e, const Refused& m) {
  e.initRefused().setReason(text(m.reason));
}

void put(wire::Envelope::Builder e, const Heartbeat& m) {
  auto out = e.initHeartbeat();
  out.setVersion(m.version);
  out.setActive(m.active);
  out.setQueued(m.queued);
  out.setTokens(m.tokens);
  out.setBusyS(m.busy_s);
  out.setWaitS(m.wait_s);
  out.setCpuS(m.cpu_s);
  out.setRssBytes(m.rss_bytes);
}

void put(wire::Envelope::Builder e, const HeartbeatAck&) {
  e.setHeartbeatAck();
}
void put(wire::Envelope::Builder e, const Ack& m) {
  e.initAck().setSeq(m.seq);
}
void put(wire::Envelope::Builder e, const Goodbye& m) {
  e.initGoodbye().setReason(text(m.reason));
}

void put(wire::Envelope::Builder e, const Shutdown& m) {
  auto out = e.initShutdown();
  out.setDrain(m.drain);
  out.setReason(text(m.reason));
}

void put(wire::Envelope::Builder e, const HelloAgain&) {
  e.setHelloAgain();
}
void put(wire::Envelope::Builder e, const Credit& m) {
  e.initCredit().setGranted(m.granted);
}

// ---- rollout
// ---------------------------------------------------------------------------------------------------

void put(wire::Envelope::Builder e, const Lease& m) {
  auto out = e.initLease();
  out.setGroup(m.group);
  out.setPromptJson(text(m.prompt_json));
  fill(out.initIndices(count(m.indices)), m.indices);
  auto sampling = out.initSampling();
  sampling.setTemperature(m.sampling.temperature);
  sampling.setTopP(m.sampling.top_p);
  sampling.setTopK(m.sampling.top_k);
  sampling.setMinP(m.sampling.min_p);
  sampling.setMaxTokens(m.sampling.max_tokens);
  fill_text(sampling.initStop(count(m.sampling.stop)), m.sampling.stop);
  fill(sampling.initStopTokenIds(count(m.sampling.stop_token_ids)), m.sampling.stop_token_ids);
  sampling.setIgnoreEos(m.sampling.ignore_eos);
  sampling.setSeed(m.sampling.seed);
  out.setEval(m.eval);
}

void put(wire::Envelope::Builder e, const Completion& m) {
  auto out = e.initCompletion();
  out.setGroup(m.group);
  out.setIndex(m.index);
  fill(out.initPromptIds(count(m.prompt_ids)), m.prompt_ids);
  fill(out.initTokenIds(count(m.token_ids)), m.token_ids);
  fill(out.initLogprobs(count(m.logprobs)), m.logprobs);
  fill_runs(out.initVersions(count(m.versions)), m.versions);
  out.setText(data(m.text));
  out.setFinishReason(text(m.finish_reason));
  out.setSeconds(m.seconds);
}

void put(wire::Envelope::Builder e, const LeaseReturned& m) {
  auto out = e.initLeaseReturned();
  out.setGroup(m.group);
  fill(out.initIndices(count(m.indices)), m.indices);
  out.setError(text(m.error));
}

void put(wire::Envelope::Builder e, const WeightsHeld& m) {
  e.initWeightsHeld().setVersion(m.version);
}

// ---- reward
// ----------------------------------------------------------------------------------------------------

void put(wire::Envelope::Builder e, const GradeJob& m) {
  auto out = e.initGradeJob();
  out.setJob(m.job);
  out.setGroup(m.group);
  out.setIndex(m.index);
  out.setRecordJson(text(m.record_json));
  out.setPromptText(data(m.prompt_text));
  out.setCompletion(data(m.completion));
  out.setFinishReason(text(m.finish_reason));
  out.setCompletionTokens(m.completion_tokens);
  out.setDeadlineStep(m.deadline_step);
}

void put(wire::Envelope::Builder e, const Graded& m) {
  auto out = e.initGraded();
  out.setJob(m.job);
  out.setGroup(m.group);
  out.setIndex(m.index);
  auto parts = out.initParts(count(m.parts));
  for (unsigned i = 0; i < parts.size(); ++i) {
    parts[i].setName(text(m.parts[i].name));
    parts[i].setWeight(m.parts[i].weight);
    const Verdict& verdict = m.parts[i].verdict;
    auto v = parts[i].initVerdict();
    v.setKind(to_wire(verdict.kind));
    v.setScore(verdict.score);
    v.setReason(data(verdict.reason));
    v.setEvidence(data(verdict.evidence));
    v.setHash(text(verdict.hash));
    v.setReused(verdict.reused);
    v.setCalls(verdict.calls);
    v.setTokens(verdict.tokens);
    parts[i].setSeconds(m.parts[i].seconds);
  }
  out.setSeconds(m.seconds);
  out.setWaitedS(m.waited_s);
}

void put(wire::Envelope::Builder e, const Cancel& m) {
  auto out = e.initCancel();
  out.setGroup(m.group);
  out.setJob(m.job);
}

// ---- learner
// ---------------------------------------------------------------------------------------------------

void put(wire::Envelope::Builder e, const BatchRequest& m) {
  e.initBatchRequest().setStep(m.step);
}

void put(wire::Envelope::Builder e, const Batch& m) {
  auto out = e.initBatch();
  out.setStep(m.step);
  auto groups = out.initGroups(count(m.groups));
  for (unsigned i = 0; i < groups.size(); ++i) {
    groups[i].setGroup(m.groups[i].group);
    fill(groups[i].initRewards(count(m.groups[i].rewards)), m.groups[i].rewards);
  }
  auto samples = out.initSamples(count(m.samples));
  for (unsigned i = 0; i < samples.size(); ++i) {
    const Sample& sample = m.samples[i];
    auto s = samples[i];
    s.setGroup(sample.group);
    s.setIndex(sample.index);
    fill(s.initPromptIds(count(sample.prompt_ids)), sample.prompt_ids);
    fill(s.initTokenIds(count(sample.token_ids)), sample.token_ids);
    fill(s.initLogprobs(count(sample.logprobs)), sample.logprobs);
    fill_runs(s.initVersions(count(sample.versions)), sample.versions);
    s.setReward(sample.reward);
    s.setTruncated(sample.truncated);
  }
  out.setTotalTokens(m.total_tokens);
  out.setTotalSamples(m.total_samples);
}

void put(wire::Envelope::Builder e, const NoMoreBatches& m) {
  e.initNoMoreBatches().setReason(text(m.reason));
}

void put(wire::Envelope::Builder e, const Trained& m) {
  auto out = e.initTrained();
  out.setStep(m.step);
  auto metrics = out.initMetrics(count(m.metrics));
  for (unsigned i = 0; i < metrics.size(); ++i) {
    metrics[i].setName(text(m.metrics[i].name));
    metrics[i].setValue(m.metrics[i].value);
  }
}

void put(wire::Envelope::Builder e, const Checkpointed& m) {
  auto out = e.initCheckpointed();
  out.setNextStep(m.next_step);
  out.setPath(text(m.path));
}

void put(wire::Published::Builder out, Version version, const std::string& endpoint, uint64_t bytes) {
  out.setVersion(version);
  out.setEndpoint(text(endpoint));
  out.setBytes(bytes);
}
void put(wire::Envelope::Builder e, const Published& m) {
  put(e.initPublished(), m.version, m.endpoint, m.bytes);
}
void put(wire::Envelope::Builder e, const WeightsAvailable& m) {
  put(e.initWeightsAvailable(), m.version, m.endpoint, m.bytes);
}

void put(wire::Envelope::Builder e, const StatusRequest&) {
  e.setStatusRequest();
}
void put(wire::Envelope::Builder e, const Status& m) {
  e.initStatus().setJson(text(m.json));
}

}  // namespace

void write(wire::Envelope::Builder out, const Message& message) {
  std::visit([&](const auto& m) { put(out, m); }, message);
}

void write(wire::WeightManifest::Builder out, const WeightManifest& manifest) {
  out.setVersion(manifest.version);
  out.setTotalBytes(manifest.total_bytes);
  out.setChecksum(manifest.checksum);
  auto tensors = out.initTensors(count(manifest.tensors));
  for (unsigned i = 0; i < tensors.size(); ++i) {
    const TensorSpec& tensor = manifest.tensors[i];
    tensors[i].setName(text(tensor.name));
    tensors[i].setDtype(to_wire(tensor.dtype));
    fill(tensors[i].initShape(count(tensor.shape)), tensor.shape);
    tensors[i].setOffset(tensor.offset);
    tensors[i].setBytes(tensor.bytes);
  }
}

}  // namespace cohort::wire_form
