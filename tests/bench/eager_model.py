#!/usr/bin/env python3
"""The quickstart's model in eager PyTorch, on one thread: what tests/bench/model_bench.cc is compared with.

    OMP_NUM_THREADS=1 python tests/bench/eager_model.py [SECONDS]        (torch 2.11.0)

Sequences of one length, so that no padding is paid for; scaled_dot_product_attention with grouped queries; a cache
that is written in place. The fastest repetition counts, by wall time and by CPU time.
"""
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

V, D, I, L, H, K, E = 120, 128, 352, 3, 4, 2, 32


class Norm(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.w = nn.Parameter(torch.ones(n))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.w


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.n1, self.n2 = Norm(D), Norm(D)
        self.q, self.k, self.v = nn.Linear(D, H * E, False), nn.Linear(D, K * E, False), nn.Linear(D, K * E, False)
        self.o = nn.Linear(H * E, D, False)
        self.gate, self.up, self.down = nn.Linear(D, I, False), nn.Linear(D, I, False), nn.Linear(I, D, False)

    def forward(self, x, cos, sin, cache=None, at=0):
        b, t, _ = x.shape
        h = self.n1(x)
        q = rotate(self.q(h).view(b, t, H, E).transpose(1, 2), cos, sin)
        k = rotate(self.k(h).view(b, t, K, E).transpose(1, 2), cos, sin)
        v = self.v(h).view(b, t, K, E).transpose(1, 2)
        if cache is not None:
            cache[0][:, :, at:at + t], cache[1][:, :, at:at + t] = k, v
            k, v = cache[0][:, :, :at + t], cache[1][:, :, :at + t]
        o = F.scaled_dot_product_attention(q, k, v, is_causal=t > 1, enable_gqa=True)
        x = x + self.o(o.transpose(1, 2).reshape(b, t, H * E))
        h = self.n2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(V, D)
        self.layers = nn.ModuleList(Layer() for _ in range(L))
        self.norm = Norm(D)
        inv = 1.0 / 10000 ** (torch.arange(0, E, 2) / E)
        angle = torch.arange(512)[:, None] * inv
        self.cos, self.sin = torch.cat((angle, angle), -1).cos(), torch.cat((angle, angle), -1).sin()

    def forward(self, ids, caches=None, at=0):
        t = ids.shape[1]
        x, cos, sin = self.embed(ids), self.cos[at:at + t], self.sin[at:at + t]
        for i, layer in enumerate(self.layers):
            x = layer(x, cos, sin, None if caches is None else caches[i], at)
        return self.norm(x) @ self.embed.weight.t()


def report(what, tokens, seconds, once):
    once()
    cpu = wall = 1e9
    until = time.perf_counter() + seconds
    while True:
        c, w = time.process_time(), time.perf_counter()
        once()
        cpu, wall = min(cpu, time.process_time() - c), min(wall, time.perf_counter() - w)
        if time.perf_counter() > until:
            break
    print(f"{what:42} {tokens / wall:9.0f} tokens/s  ({tokens / cpu:.0f} by CPU time)")


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Model()
    for b in (12, 51, 102):
        ids = torch.randint(V, (b, 80))

        def step():
            logp = torch.log_softmax(model(ids), -1).gather(2, ids.roll(-1, 1)[..., None])
            (-logp.mean()).backward()
            model.zero_grad(set_to_none=False)

        report(f"training, {b * 80} tokens a micro-batch", b * 80, seconds, step)
    for b in (1, 16, 64, 128):
        caches = [(torch.zeros(b, K, 160, E), torch.zeros(b, K, 160, E)) for _ in range(L)]

        @torch.inference_mode()
        def decode():
            logits = model(torch.randint(V, (b, 8)), caches, 0)[:, -1]
            for t in range(8, 108):
                p = torch.softmax(logits, -1)
                token = torch.multinomial(p, 1)
                p.gather(1, token).log()
                logits = model(token, caches, t)[:, -1]

        report(f"decoding, {b} sequences of 100 new tokens", b * 100, seconds, decode)


if __name__ == "__main__":
    main()
