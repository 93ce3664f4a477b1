#!/usr/bin/env python3
"""Golden values of the GRPO loss, the advantages and AdamW: tests/golden/loss.json.

Made with trl 1.16.0, torch 2.11.0, numpy 2.x (the versions used are written into the file).
  python3 tests/golden/make_loss_golden.py

- "trl": the loss and its gradients come out of trl.GRPOTrainer._compute_loss itself, in float64; only the model's forward pass
  is replaced by given log-probabilities.
- "verl": what TRL does not have (dual clip, k1/k2, decoupled loss, verl's aggregations), restated here in float64 NumPy
  from the formulas in verl's core_algos and AReaL's actor loss; gradients by central differences.
- "adamw": torch.optim.AdamW in float32 with torch.nn.utils.clip_grad_norm_.
"""
import json
import os
from types import SimpleNamespace

import numpy as np
import torch
import trl
from trl import GRPOTrainer

rng = np.random.default_rng(7)
LENGTHS = [4, 1, 6, 3, 5, 2]
ADVANTAGES = [1.25, -0.75, 0.5, -1.5, 0.0, 2.0]
CU = np.concatenate([[0], np.cumsum(LENGTHS)])
N, S, T, SCALE = int(CU[-1]), len(LENGTHS), max(LENGTHS), 16.0


def draw():
    old = rng.normal(-1.2, 0.6, N)
    return dict(old=old, logp=old + rng.normal(0, 0.35, N), behav=old + rng.normal(0, 0.5, N),
                ref=old + rng.normal(0, 0.4, N), entropy=rng.uniform(0.1, 2, N))


def pad(flat):
    out = torch.zeros(S, T, dtype=torch.float64)
    for s in range(S):
        out[s, :LENGTHS[s]] = torch.tensor(flat[CU[s]:CU[s + 1]])
    return out


def unpad(matrix):
    return [float(matrix[s, t]) for s in range(S) for t in range(LENGTHS[s])]


class Metrics(dict):
    def __missing__(self, key):
        self[key] = []
        return self[key]


def trl_case(name, data, options):
    """One call of TRL's own loss."""
    mode = options.get("loss_agg_mode", "token-mean")
    loss_type = {"token-mean": "bnpo", "seq-mean-token-mean": "grpo", "seq-mean-token-sum-norm": "dr_grpo",
                 "seq-mean-token-sum": "luspo"}[mode]
    logp, entropy = pad(data["logp"]).requires_grad_(), pad(data["entropy"]).requires_grad_()
    mask = torch.zeros(S, T, dtype=torch.float64)
    for s in range(S):
        mask[s, :LENGTHS[s]] = 1
    fake = SimpleNamespace(
        loss_type=loss_type, epsilon_low=options.get("clip_ratio_low", 0.2), epsilon_high=options.get("clip_ratio_high", 0.2),
        beta=options.get("kl_loss_coef", 0.0), importance_sampling_level=options.get("importance_sampling_level", "token"),
        entropy_coef=options.get("entropy_coef", 0.0), _entropy_bonus_enabled="entropy_coef" in options,
        use_adaptive_entropy=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None, aux_loss_enabled=False,
        use_vllm="rollout_is" in options, vllm_importance_sampling_correction=True, max_completion_length=int(SCALE),
        current_gradient_accumulation_steps=1, model=SimpleNamespace(training=True), _metrics={"train": Metrics()},
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False),
        accelerator=SimpleNamespace(gather=lambda x: x, reduce=lambda x, reduction=None: x, num_processes=1,
                                    sync_gradients=True),
        _get_per_token_logps_and_entropies=lambda *a, **k: (logp, entropy, None))
    empty = torch.zeros(S, 1, dtype=torch.long)
    inputs = dict(prompt_ids=empty, prompt_mask=empty, completion_ids=torch.zeros(S, T, dtype=torch.long), completion_mask=mask,
                  advantages=torch.tensor(ADVANTAGES, dtype=torch.float64), old_per_token_logps=pad(data["old"]),
                  ref_per_token_logps=pad(data["ref"]))
    if "rollout_is" in options:
        ratio = torch.exp((pad(data["old"]) - pad(data["behav"])) * mask)
        inputs["importance_sampling_ratio"] = torch.clamp(ratio, max=options["rollout_is_threshold"])
    loss = GRPOTrainer._compute_loss(fake, None, inputs)
    loss.backward()
    metrics = {k: v[0] for k, v in fake._metrics["train"].items()}
    out = dict(name=name, source="trl", options=options, loss=float(loss), grad_logprobs=unpad(logp.grad))
    if "entropy_coef" in options:
        out["grad_entropy"] = unpad(entropy.grad)
    out["metrics"] = {"entropy": metrics["entropy"]}
    if options.get("kl_loss_coef"):
        out["metrics"]["kl"] = metrics["kl"]
    if options.get("importance_sampling_level") != "sequence":  # TRL counts sequences there, not tokens
        out["metrics"].update(clip_low=metrics["clip_ratio/low_mean"], clip_high=metrics["clip_ratio/high_mean"])
    return out


def verl_loss(data, o, logp):
    """verl's compute_policy_loss_vanilla / _gspo, kl_penalty and agg_loss; AReaL's behaviour weight."""
    low, high, c = o.get("clip_ratio_low", 0.2), o.get("clip_ratio_high", 0.2), o.get("clip_ratio_c", 0.0)
    adv = np.repeat(ADVANTAGES, LENGTHS)
    log_ratio = np.clip(logp - data["old"], -20, 20)
    if o.get("importance_sampling_level") == "sequence":
        log_ratio = np.repeat([log_ratio[CU[s]:CU[s + 1]].mean() for s in range(S)], LENGTHS)
    ratio = np.exp(log_ratio)
    pg1, pg2 = -adv * ratio, -adv * np.clip(ratio, 1 - low, 1 + high)
    pg = np.maximum(pg1, pg2)
    metrics = {"clip": float(np.mean(pg2 > pg1)), "approx_kl": float(np.mean(data["old"] - logp))}
    if c:
        pg3 = -adv * c
        metrics["clip_dual"] = float(np.mean((pg > pg3) & (adv < 0)))
        pg = np.where(adv < 0, np.minimum(pg3, pg), pg)
    if o.get("rollout_is"):
        pg = pg * np.minimum(np.exp(np.clip(data["old"] - data["behav"], -20, 20)), o["rollout_is_threshold"])
    if o.get("use_decoupled_loss"):
        w = np.exp(data["old"] - data["behav"])
        if o.get("behav_imp_weight_cap"):
            w = np.where(w <= o["behav_imp_weight_cap"], w, 0)
        pg = pg * w
    if o.get("kl_loss_coef"):
        d = logp - data["ref"]
        kl = {"k1": d, "k2": d * d / 2, "k3": np.exp(-d) + d - 1}[o.get("kl_estimator", "k3")]
        metrics["kl"] = float(kl.mean())
        pg = pg + o["kl_loss_coef"] * kl
    sums = np.array([pg[CU[s]:CU[s + 1]].sum() for s in range(S)])
    mode = o.get("loss_agg_mode", "token-mean")
    loss = {"token-mean": pg.mean(), "seq-mean-token-sum": sums.mean(), "seq-mean-token-mean": (sums / LENGTHS).mean(),
            "seq-mean-token-sum-norm": sums.mean() / SCALE}[mode]
    return float(loss), metrics


def verl_case(name, data, options):
    loss, metrics = verl_loss(data, options, data["logp"])
    grad, h = [], 1e-6
    for i in range(N):
        up, down = data["logp"].copy(), data["logp"].copy()
        up[i] += h
        down[i] -= h
        grad.append((verl_loss(data, options, up)[0] - verl_loss(data, options, down)[0]) / (2 * h))
    return dict(name=name, source="verl", options=options, loss=loss, grad_logprobs=grad, metrics=metrics)


def advantage_case(scale, rewards):
    """TRL's reward scaling (sum_then_normalize), on [groups, generations] rewards."""
    r = torch.tensor(rewards, dtype=torch.float64)
    a = r - torch.nanmean(r, dim=1, keepdim=True)
    if scale == "group":
        a = a / (trl.trainer.utils.nanstd(r, dim=1, keepdim=True) + 1e-4)
    if scale == "batch":
        a = a / (trl.trainer.utils.nanstd(r) + 1e-4)
    return dict(scale=scale, rewards=rewards, advantages=torch.nan_to_num(a, nan=0.0).tolist())


def adamw_case(decay, max_norm):
    torch.manual_seed(3)
    matrix, norm = torch.nn.Parameter(torch.randn(5, 4)), torch.nn.Parameter(torch.randn(7))
    start = [matrix.detach().flatten().tolist(), norm.detach().tolist()]
    optimizer = torch.optim.AdamW([{"params": [matrix], "weight_decay": decay}, {"params": [norm], "weight_decay": 0.0}],
                                  lr=0.03, betas=(0.9, 0.95), eps=1e-8)
    steps = []
    for step in range(5):
        matrix.grad, norm.grad = torch.randn(5, 4) * 10.0 ** (step - 3), torch.randn(7) * 10.0 ** (step - 3)
        grads = [matrix.grad.flatten().tolist(), norm.grad.tolist()]
        total = float(torch.nn.utils.clip_grad_norm_([matrix, norm], max_norm))
        optimizer.step()
        steps.append(dict(gradients=grads, grad_norm=total, parameters=[matrix.detach().flatten().tolist(), norm.detach().tolist()]))
    return dict(weight_decay=decay, max_grad_norm=max_norm, start=start, steps=steps)


def main():
    data = draw()
    modes = ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"]
    cases = []
    for mode in modes:
        level = {"importance_sampling_level": "sequence"} if mode == "seq-mean-token-sum" else {}  # luspo's set-up
        cases.append(trl_case("agg " + mode, data, dict(loss_agg_mode=mode, **level)))
        cases.append(verl_case("agg " + mode, data, dict(loss_agg_mode=mode)))
    cases += [
        trl_case("clip-higher", data, dict(clip_ratio_low=0.2, clip_ratio_high=0.28)),
        trl_case("gspo", data, dict(importance_sampling_level="sequence", loss_agg_mode="seq-mean-token-mean",
                                    clip_ratio_low=0.03, clip_ratio_high=0.04)),
        trl_case("kl k3", data, dict(kl_loss_coef=0.04)),
        trl_case("kl k3 by sequence", data, dict(kl_loss_coef=0.04, loss_agg_mode="seq-mean-token-mean")),
        trl_case("entropy", data, dict(entropy_coef=0.01)),
        trl_case("entropy by sequence", data, dict(entropy_coef=0.01, loss_agg_mode="seq-mean-token-mean")),
        trl_case("rollout_is", data, dict(rollout_is=True, rollout_is_threshold=1.3)),
        trl_case("rollout_is, gspo", data, dict(rollout_is=True, rollout_is_threshold=2.0, importance_sampling_level="sequence",
                                                loss_agg_mode="seq-mean-token-mean")),
        trl_case("everything trl has", data, dict(rollout_is=True, rollout_is_threshold=1.5, kl_loss_coef=0.1, entropy_coef=0.02,
                                                  clip_ratio_low=0.1, clip_ratio_high=0.3)),
        verl_case("gspo", data, dict(importance_sampling_level="sequence", loss_agg_mode="seq-mean-token-mean",
                                     clip_ratio_low=0.03, clip_ratio_high=0.04)),
        verl_case("dual clip", data, dict(clip_ratio_c=1.35)),
        verl_case("rollout_is", data, dict(rollout_is=True, rollout_is_threshold=1.3)),
        verl_case("decoupled", data, dict(use_decoupled_loss=True)),
        verl_case("decoupled, capped", data, dict(use_decoupled_loss=True, behav_imp_weight_cap=1.4)),
        verl_case("decoupled, dual clip, kl", data, dict(use_decoupled_loss=True, clip_ratio_c=1.3, kl_loss_coef=0.05,
                                                         loss_agg_mode="seq-mean-token-sum")),
    ]
    cases += [verl_case("kl " + k, data, dict(kl_loss_coef=0.3, kl_estimator=k, loss_agg_mode="seq-mean-token-sum-norm"))
              for k in ("k1", "k2", "k3")]
    rewards = [[1.1, 0.1, 0.0, 1.1], [0.0, 0.0, 0.0, 0.0], [1.0, 0.25, 0.5, -0.5]]
    holes = [[1.1, float("nan"), 0.0, 1.1], [0.0, 1.0, float("nan"), 0.5]]
    out = dict(made_with=dict(trl=trl.__version__, torch=torch.__version__, numpy=np.__version__), cu_tokens=CU.tolist(),
               advantages=ADVANTAGES, loss_scale=SCALE, logprobs=data["logp"].tolist(), old=data["old"].tolist(),
               behav=data["behav"].tolist(), ref=data["ref"].tolist(), entropy=data["entropy"].tolist(), cases=cases,
               advantage_cases=[advantage_case(s, r) for s in ("group", "batch", "none") for r in (rewards, holes)],
               adamw=[adamw_case(0.0, 1.0), adamw_case(0.1, 1.0), adamw_case(0.1, 1e9)])
    text = json.dumps(out, indent=0).replace("NaN", "null")
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "loss.json"), "w") as f:
        f.write(text + "\n")
    print(len(cases), "cases", len(text), "bytes")


main()
