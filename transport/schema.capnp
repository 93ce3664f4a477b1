# The wire form of every message between Cohort's processes (transport/messages.h has the C++ structs, docs/protocol.md
# the conversation). Rules that keep old and new builds able to talk and ledgers readable:
#   - a field's number is never reused and never changed; a field that is no longer used is renamed "obsolete…";
#   - new fields get the next number and a default that means what their absence meant before;
#   - what changes the meaning of an existing field raises Hello.protocol instead.
# Sent packed (Cap'n Proto's own packing: zero bytes are squeezed out). One ZeroMQ frame is one Envelope, except the
# weight messages at the end, which have sockets of their own.

@0xc4d1f2a86b9e7035;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("cohort::wire");

struct Envelope {
  seq @0 :UInt64;
  # Number of a reliable message in its Link's life: 1, 2, 3 … over all reconnects. 0: needs no Ack.
  union {
    hello @1 :Hello;
    welcome @2 :Welcome;
    refused @3 :Refused;
    heartbeat @4 :Heartbeat;
    heartbeatAck @5 :Void;          # answers a Heartbeat: "I am here"
    ack @6 :Ack;
    goodbye @7 :Goodbye;
    shutdown @8 :Shutdown;
    helloAgain @9 :Void;            # the receiver knows nothing of the sender: begin a new conversation
    credit @10 :Credit;
    lease @11 :Lease;
    completion @12 :Completion;     # reliable
    leaseReturned @13 :LeaseReturned;  # reliable
    weightsHeld @14 :WeightsHeld;
    gradeJob @15 :GradeJob;
    graded @16 :Graded;             # reliable
    cancel @17 :Cancel;
    batchRequest @18 :BatchRequest;
    batch @19 :Batch;
    noMoreBatches @20 :NoMoreBatches;
    trained @21 :Trained;           # reliable
    checkpointed @22 :Checkpointed; # reliable
    published @23 :Published;
    weightsAvailable @24 :Published;  # the same fields, from the coordinator to the rollouts
    statusRequest @25 :Void;
    status @26 :Status;
  }
}

# ---- the conversation ----------------------------------------------------------------------------------------

enum Role { rollout @0; reward @1; learner @2; observer @3; }

struct HeldLease {
  group @0 :UInt64;           # the group's id, 1-based, never reused in a run folder
  indices @1 :List(UInt32);   # the completions of it that are still to come
}

struct Hello {
  role @0 :Role;
  name @1 :Text;              # unique in the run and the same after each reconnect, e.g. "rollout-0"
  runId @2 :Text;             # "" takes the coordinator's; any other than the coordinator's is refused
  host @3 :Text;
  pid @4 :UInt32;
  rank @5 :UInt32;            # learners: this rank
  ranks @6 :UInt32 = 1;       # learners: how many there are
  version @7 :UInt32;         # rollout: version of the weights it holds; learner: its next step
  protocol @8 :UInt32 = 1;    # version of this protocol; one that the coordinator does not speak is refused
  held @9 :List(HeldLease);   # rollout: leases it still works on
  heldJobs @10 :List(UInt64); # reward: jobs it still works on
}

struct Welcome {
  runId @0 :Text;
  epoch @1 :UInt64;           # grows with every start of the coordinator
  configToml @2 :Text;        # the resolved run file
  heartbeatMs @3 :UInt32 = 1000;
  timeoutMs @4 :UInt32 = 10000;  # silence after which either side counts the other as gone
  trainedSteps @5 :UInt32;    # the ledger has the Trained of each step below
}

struct Refused {
  reason @0 :Text;            # one line; the worker ends with it
}

struct Heartbeat {
  version @0 :UInt32;         # as in Hello
  active @1 :UInt32;          # sequences being decoded, jobs being graded
  queued @2 :UInt32;          # held, not started
  tokens @3 :UInt64;          # since the process began: sampled (rollout), trained (learner)
  busyS @4 :Float64;          # seconds since the process began: working,
  waitS @5 :Float64;          #   waiting for someone else,
  cpuS @6 :Float64;           #   of CPU time
  rssBytes @7 :UInt64;        # resident memory now
}

struct Ack {
  seq @0 :UInt64;             # cumulative: every reliable message of the Link up to this one is on disk
}

struct Goodbye {
  reason @0 :Text;
}

struct Shutdown {
  drain @0 :Bool = true;      # finish what runs; false: drop it, held leases go back
  reason @1 :Text;
}

struct Credit {
  granted @0 :UInt64;         # cumulative since the last Hello: leases (groups) or jobs that may have been sent
}

# ---- rollout ---------------------------------------------------------------------------------------------------

struct SamplingParams {
  temperature @0 :Float64 = 1;    # 0: greedy
  topP @1 :Float64 = 1;
  topK @2 :Int32;                 # 0: off
  minP @3 :Float64;
  maxTokens @4 :Int32 = 256;
  stop @5 :List(Text);            # strings that end a completion
  stopTokenIds @6 :List(Int32);   # besides the model folder's eos tokens
  ignoreEos @7 :Bool;
  seed @8 :UInt64;                # with group and index it decides every random number of a completion
}

struct Lease {
  group @0 :UInt64;
  promptJson @1 :Text;            # the prompt's record, one JSON object
  indices @2 :List(UInt32);       # the completions wanted
  sampling @3 :SamplingParams;
  eval @4 :Bool;                  # held-out evaluation: not trained on
}

struct VersionRun {
  version @0 :UInt32;             # weights that sampled
  count @1 :UInt32;               #   this many consecutive tokens
}

struct Completion {
  group @0 :UInt64;
  index @1 :UInt32;
  promptIds @2 :List(Int32);
  tokenIds @3 :List(Int32);       # with the stop token when there is one
  logprobs @4 :List(Float32);     # behaviour log-probability of each token; as many as tokenIds
  versions @5 :List(VersionRun);  # counts add up to tokenIds
  text @6 :Data;                  # the model's own bytes, which need not be UTF-8
  finishReason @7 :Text;          # stop, length, abort
  seconds @8 :Float64;            # from the step of its first token to that of its last
}

struct LeaseReturned {
  group @0 :UInt64;
  indices @1 :List(UInt32);
  error @2 :Text;                 # not empty: the prompt cannot be sampled, and the group fails with this reason
}

struct WeightsHeld {
  version @0 :UInt32;
}

# ---- reward ----------------------------------------------------------------------------------------------------

struct GradeJob {
  job @0 :UInt64;
  group @1 :UInt64;
  index @2 :UInt32;
  recordJson @3 :Text;            # the prompt's record
  promptText @4 :Data;            # as rendered for the model; empty when not kept
  completion @5 :Data;            # the model's own bytes
  finishReason @6 :Text;
  completionTokens @7 :UInt32;
  deadlineStep @8 :Int64;         # step by which the group must be consumed; the earliest is graded first
}

enum VerdictKind {
  passed @0; failed @1; noAnswer @2; compileError @3; candidateTimeout @4; candidateMemory @5; candidateOutput @6;
  candidateCrash @7; unknown @8; infraError @9; cancelled @10;
  budgetExhausted @11;            # the run's budget for a paid endpoint is used up: the run ends in order
}

struct Verdict {
  kind @0 :VerdictKind = infraError;
  score @1 :Float64;
  reason @2 :Data;                # one line; may quote the candidate's bytes
  evidence @3 :Data;              # a JSON object, "" is {}
  hash @4 :Text;                  # xxh3-128 in hex of all that decided
  reused @5 :Bool;                # found (cache), not worked out again
  calls @6 :UInt32;               # requests made of a paid endpoint, also those that failed,
  tokens @7 :UInt64;              #   and the tokens they used
}

struct RewardPart {
  name @0 :Text;                  # as in the run file
  weight @1 :Float64 = 1;
  verdict @2 :Verdict;
  seconds @3 :Float64;            # grading this part took
}

struct Graded {
  job @0 :UInt64;
  group @1 :UInt64;
  index @2 :UInt32;
  parts @3 :List(RewardPart);     # in the order of the run file
  seconds @4 :Float64;            # grading all parts took
  waitedS @5 :Float64;            # before that, in the worker's queue
}

struct Cancel {
  group @0 :UInt64;               # rollout: this group is no longer wanted
  job @1 :UInt64;                 # reward: this job
}

# ---- learner ---------------------------------------------------------------------------------------------------

struct BatchRequest {
  step @0 :UInt32;
}

struct Sample {
  group @0 :UInt64;
  index @1 :UInt32;
  promptIds @2 :List(Int32);
  tokenIds @3 :List(Int32);
  logprobs @4 :List(Float32);     # as many as tokenIds
  versions @5 :List(VersionRun);  # counts add up to tokenIds
  reward @6 :Float64;
  truncated @7 :Bool;             # ended by its length
}

struct GroupRewards {
  group @0 :UInt64;
  rewards @1 :List(Float64);      # by index
}

struct Batch {
  step @0 :UInt32;
  groups @1 :List(GroupRewards);  # of the whole batch, the same on every rank
  samples @2 :List(Sample);       # this rank's share
  totalTokens @3 :UInt64;         # completion tokens of the whole batch, over all ranks
  totalSamples @4 :UInt32;        # samples of the whole batch
}

struct NoMoreBatches {
  reason @0 :Text;
}

struct Metric {
  name @0 :Text;
  value @1 :Float64;
}

struct Trained {
  step @0 :UInt32;                # the step just taken: the version is now step + 1
  metrics @1 :List(Metric);
}

struct Checkpointed {
  nextStep @0 :UInt32;            # the checkpoint contains every step before this one
  path @1 :Text;
}

struct Published {
  version @0 :UInt32;
  endpoint @1 :Text;              # where a WeightClient fetches it
  bytes @2 :UInt64;
}

struct Status {
  json @0 :Text;                  # one JSON object, documented in docs/protocol.md
}

# ---- weights: a socket of its own (transport/weights.h) ---------------------------------------------
# Every message carries `fetch`, a number of the client's choice: an answer to an earlier fetch is told by it.

struct WeightRequest {
  fetch @0 :UInt64;
  union {
    manifest :group {             # what is there? Answered by `manifest` or `none`.
      atLeast @1 :UInt32;         # the oldest version that is of use
      resume @2 :UInt32;          # version of which chunks are already here, preferred while the server still has it
      resuming @3 :Bool;
      device @7 :Text;            # the GPU that the client could copy from ("BOOT-ID/GPU-UUID"); empty: send chunks
      member :group {             # could the client be sent this version in a broadcast? Answered when one begins, or by `refused`
        device @8 :Text;          # the GPU that would receive it; empty: no
        name @9 :Text;            # for the server's log
        holds @10 :UInt64;        # xxh3-64 of the id of the communicator it is in; 0: none
      }
    }
    chunk :group {                # answered by `chunk` with a second frame of data, or by `gone`
      version @4 :UInt32;
      index @5 :UInt32;
    }
    done @6 :Void;                # the fetch has ended: the server need not keep its version for this client
    received :group {             # a member's end of a broadcast
      round @11 :UInt64;
      ok @12 :Bool;               # false: it could not receive, so the broadcast cannot end for the others either
    }
  }
}

enum DType { f32 @0; bf16 @1; f16 @2; }

struct TensorSpec {
  name @0 :Text;                  # as in the Hugging Face checkpoint
  dtype @1 :DType;
  shape @2 :List(Int64);
  offset @3 :UInt64;              # in the flat buffer, a multiple of 64
  bytes @4 :UInt64;
}

struct WeightManifest {
  version @0 :UInt32;
  tensors @1 :List(TensorSpec);
  totalBytes @2 :UInt64;
  checksum @3 :UInt64;            # xxh3-64 of the flat buffer
}

struct WeightReply {
  fetch @0 :UInt64;
  union {
    none @1 :Void;                # nothing is published yet that is new enough: ask again
    manifest :group {
      manifest @2 :WeightManifest;
      chunkBytes @3 :UInt64;      # every chunk has this size except the last
      share :group {              # the client's GPU holds this version
        handle @8 :Data;          # a cudaIpcMemHandle_t; empty: there is no share, ask for chunks
        offset @9 :UInt64;        # of the flat buffer in what the handle maps
        checksum @10 :UInt64;     # kernels/checksum.h of the flat buffer
      }
      broadcast :group {          # it is being sent now to the members of a communicator, of which the client is to be one
        id @11 :Data;             # an ncclUniqueId; empty: there is no broadcast
        rank @12 :UInt32;         # 0 is the learner; of no meaning when the client is in this communicator
        size @13 :UInt32;
        round @14 :UInt64;        # number of the broadcast, to be named in `received`
        checksum @15 :UInt64;     # kernels/checksum.h of the flat buffer
        timeoutMs @16 :UInt32;    # when it is given up
      }
    }
    chunk :group {
      version @4 :UInt32;
      index @5 :UInt32;
      checksum @6 :UInt64;        # xxh3-64 of the data frame that follows
    }
    gone @7 :UInt32;              # this version is no longer held: ask for a manifest
    refused @17 :Text;            # no broadcast for this client, and why: ask again for chunks
    ended @18 :UInt64;            # the broadcast of that round was given up: leave the communicator and ask again
  }
}
