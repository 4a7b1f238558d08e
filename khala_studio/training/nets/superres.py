"""Super-resolution: predicts layer k at every frame from the sum of those before, with full attention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from khala_studio.training.nets.backbone import coarse_cross_entropy
from khala_studio.training.nets.config import SuperresConfig
from khala_studio.training.nets.transformer import Packing, Transformer

State = Mapping[str, Tensor]


class CodecTables(nn.Module):
    """The codec's constants: code c of layer k is the latent vector projections[k] @ codebooks[k, c]."""

    projections: Tensor  # [K, D, d]
    codebooks: Tensor  # [K, codebook_size, d]

    def __init__(self, n_codebooks: int, codebook_size: int, latent_dim: int, code_dim: int) -> None:
        super().__init__()
        self.register_buffer("projections", torch.zeros(n_codebooks, latent_dim, code_dim))
        self.register_buffer("codebooks", torch.zeros(n_codebooks, codebook_size, code_dim))

    def latents(self, codes: Tensor, first: int) -> Tensor:
        """Sum of the vectors of codes [n, T], layers first .. first + n - 1 -> [T, D]."""
        layers = torch.arange(first, first + len(codes), device=codes.device)
        entries = self.codebooks[layers[:, None], codes]  # [n, T, d]
        wide = self.projections[first : first + len(codes)]  # [n, D, d]
        n, frames, d = entries.shape
        return entries.transpose(0, 1).reshape(frames, n * d) @ wide.permute(0, 2, 1).reshape(n * d, -1)


@dataclass(frozen=True, slots=True)
class RefinePack:
    """Packed sequences [prompt | T frames]; of each the layer asked for."""

    prompts: tuple[Tensor, ...]  # ids [S] of each sequence
    codes: tuple[Tensor, ...]  # [K, T] of each, int64
    layers: tuple[int, ...]

    @property
    def packing(self) -> Packing:
        return Packing(tuple(len(p) + c.shape[1] for p, c in zip(self.prompts, self.codes, strict=True)))

    @property
    def n_tokens(self) -> int:
        return sum(self.packing.lengths)

    def to(self, device: torch.device) -> RefinePack:
        move = lambda tensors: tuple(t.to(device, non_blocking=True) for t in tensors)  # noqa: E731
        return RefinePack(move(self.prompts), move(self.codes), self.layers)


class SuperresNet(Transformer):
    """Attributes, named in the state dictionary as the exporter reads them:

    lm_head: head of the causal task, as the backbone's sliced one (or rows of every layer, if not factored).
    latent_proj.weight [hidden, D], layer_embed.weight [K, hidden]: embed code c of layer k >= n_coarse as
        latent_proj @ projections[k] @ codebooks[k, c] + layer_embed[k].
    residual_head: predicts what is left of the latent over residual_rms[k]; one map for all layers, so that
        every step teaches it. An entry's logit is pull[k] times its product with that prediction, less
        norm_cost[k] times half its square, both in units of residual_rms[k]**2, plus
        h @ head_proj[k] @ codebooks[k].T + head_bias[k] (head_proj [K, hidden, d], head_bias [K, size]).
    quantizer: the codec's tables.

    latent_proj and head_proj are trained in units in which latents and codebook entries have a size near 1
    (Adam's steps know no units); the state dictionary holds them in the codec's own. The units are powers of
    two, so nothing is lost on the way.
    """

    code_units: Tensor
    latent_unit: Tensor

    def __init__(self, config: SuperresConfig) -> None:
        super().__init__(config.transformer)
        self.superres_config, self.vocabulary = config, config.vocabulary
        if config.factored:
            self._add_factored(config)

    def _add_factored(self, config: SuperresConfig) -> None:
        v, hidden = config.vocabulary, config.transformer.hidden
        self.quantizer = CodecTables(v.n_codebooks, v.codebook_size, config.latent_dim, config.code_dim)
        self.register_buffer("code_units", torch.ones(v.n_codebooks), persistent=False)
        self.register_buffer("latent_unit", torch.ones(()), persistent=False)
        self.latent_proj = nn.Linear(config.latent_dim, hidden, bias=False)
        self.layer_embed = nn.Embedding(v.n_codebooks, hidden)
        self.head_proj = nn.Parameter(torch.empty(v.n_codebooks, hidden, config.code_dim))
        self.head_bias = nn.Parameter(torch.zeros(v.n_codebooks, v.codebook_size))
        self.residual_head = nn.Linear(hidden, config.latent_dim)
        nn.init.zeros_(self.residual_head.weight)
        nn.init.zeros_(self.residual_head.bias)
        # entries lie along the directions in which the residual varies most: less sure there than on average
        self.pull = nn.Parameter(torch.full((v.n_codebooks,), 0.1))
        self.norm_cost = nn.Parameter(torch.zeros(v.n_codebooks))
        self.register_buffer("residual_rms", torch.ones(v.n_codebooks))
        nn.init.normal_(self.latent_proj.weight, std=0.02 * config.latent_dim**-0.5)
        nn.init.normal_(self.layer_embed.weight, std=0.002)
        nn.init.normal_(self.head_proj, std=0.02 * hidden**-0.5)
        self.register_state_dict_post_hook(_to_codec_units)
        self.register_load_state_dict_pre_hook(_from_codec_units)

    # --- embeddings

    def embed_prompt(self, ids: Tensor, layer: int) -> Tensor:
        """ids [S] -> [S, hidden], the last position replaced by the marker of `layer`."""
        marker = ids.new_tensor([self.vocabulary.superres_marker_base - layer])
        return self.embed(torch.cat((ids[:-1], marker)))

    def embed_layers(self, codes: Tensor, first: int) -> Tensor:
        """Sum of the embeddings of codes [n, T] of layers first .. first + n - 1 -> [T, hidden]."""
        v = self.vocabulary
        in_table = (
            len(codes) if not self.superres_config.factored else max(0, min(len(codes), v.n_coarse - first))
        )
        offsets = v.audio_offset + v.codebook_size * torch.arange(
            first, first + in_table, device=codes.device
        )
        total = self.embed(codes[:in_table] + offsets[:, None]).sum(0)
        if in_table == len(codes):
            return total
        first += in_table
        latents = self.quantizer.latents(codes[in_table:], first) / self.latent_unit
        return (
            total
            + self.latent_proj(latents)
            + self.layer_embed.weight[first : first + len(codes) - in_table].sum(0)
        )

    def running_sums(self, codes: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """What the net reads to predict each of `layers` (ascending): the sum of the layers before it.

        codes: [K, T] -> one [T, hidden] a layer. The sum grows on; nothing is embedded twice.
        """
        sums: list[Tensor] = []
        total: Tensor | None = None
        done = 0
        for layer in layers:
            if layer > done:
                grown = self.embed_layers(codes[done:layer], done)
                total, done = (grown if total is None else total + grown), layer
            sums.append(
                total
                if total is not None
                else self.embed.weight.new_zeros(codes.shape[1], self.config.hidden)
            )
        return sums

    # --- heads

    def layer_logits(self, hidden: Tensor, layer: int) -> Tensor:
        """hidden [T, hidden] -> logits [T, codebook_size] of `layer`."""
        v = self.vocabulary
        if not self.superres_config.factored:
            begin = v.audio_offset + v.codebook_size * layer
            return F.linear(hidden, self.lm_head.weight[begin : begin + v.codebook_size])
        book, unit = self.quantizer.codebooks[layer], self.residual_rms[layer]
        own = F.linear(hidden @ self.head_proj[layer], book / self.code_units[layer]) + self.head_bias[layer]
        towards = self.predicted_residual(hidden) @ (self.quantizer.projections[layer] / unit)  # [T, d]
        square = (book @ self.quantizer.projections[layer].T).square().sum(1) / unit**2
        return own + self.pull[layer] * F.linear(towards, book) - 0.5 * self.norm_cost[layer] * square

    def predicted_residual(self, hidden: Tensor) -> Tensor:
        """hidden [T, hidden] -> what the layers from here on will add up to, over residual_rms [T, D]."""
        return self.residual_head(hidden)

    def coarse_head(self) -> Tensor:
        """Rows [q0 codes | q1 codes | end of song] of the causal task."""
        v, weight = self.vocabulary, self.lm_head.weight
        if self.superres_config.factored:
            return weight
        n_codes = v.n_coarse * v.codebook_size
        end = weight[v.end_of_song : v.end_of_song + 1]
        return torch.cat((weight[v.audio_offset : v.audio_offset + n_codes], end))

    # --- tasks

    def causal_losses(self, ids: Tensor, packing: Packing, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The backbone's task: cross-entropies [M0], [M1] of the q0 and q1 positions, in nats."""
        hidden = self.hidden(self.embed(ids), packing, causal=True)
        return coarse_cross_entropy(self.coarse_head(), hidden, targets, self.vocabulary.codebook_size)

    def refine_losses(self, pack: RefinePack) -> list[Tensor]:
        """Cross-entropy [T] of every sequence's layer at every frame, in nats."""
        return self.refine(pack)[0]

    def refine(self, pack: RefinePack) -> tuple[list[Tensor], list[Tensor]]:
        """Of every sequence the cross-entropies [T] in nats, and the share of the residual's power that its
        prediction leaves unexplained [] (nothing where the heads are plain rows).
        """
        losses, unexplained = [], []
        for frames, codes, layer in self.frames(pack):
            logits = self.layer_logits(frames, layer).float()
            losses.append(F.cross_entropy(logits, codes[layer], reduction="none"))
            if self.superres_config.factored:
                residual = self.residual(codes, layer)
                missed = (residual - self.predicted_residual(frames).float()).square().mean()
                unexplained.append(missed / residual.square().mean().clamp(min=1e-6))
        return losses, unexplained

    def frames(self, pack: RefinePack) -> list[tuple[Tensor, Tensor, int]]:
        """(hidden [T, hidden], codes [K, T], layer asked for) of every sequence."""
        x = torch.cat([part for sequence in self._inputs(pack) for part in sequence])
        hidden = self.hidden(x, pack.packing, causal=False).split(list(pack.packing.lengths))
        sequences = zip(hidden, pack.prompts, pack.codes, pack.layers, strict=True)
        return [(h[len(prompt) :], codes, layer) for h, prompt, codes, layer in sequences]

    def residual(self, codes: Tensor, layer: int) -> Tensor:
        """What the layers from `layer` on add up to, over residual_rms [T, D]."""
        return self.quantizer.latents(codes[layer:], layer) / self.residual_rms[layer]

    @torch.no_grad()
    def fit_residual_head(self, packs: Iterable[RefinePack], ridge: float = 1e-2) -> float:
        """Least squares from the hidden states as they are; training goes on from there.

        Returns:
            The share of the residual's power that is left unexplained on these packs.
        """
        n, d = self.config.hidden + 1, self.superres_config.latent_dim
        gram, cross, power, count = torch.zeros(n, n), torch.zeros(n, d), 0.0, 0
        for pack in packs:
            for frames, codes, layer in self.frames(pack):
                h = torch.cat([frames.float(), torch.ones_like(frames[:, :1]).float()], 1).cpu()
                residual = self.residual(codes, layer).cpu()
                gram, cross = gram + h.T @ h, cross + h.T @ residual
                power, count = power + float(residual.square().sum()), count + len(h)
        solution = torch.linalg.solve(gram + ridge * count * torch.eye(n), cross)  # [n, D]
        self.residual_head.weight.copy_(solution[:-1].T)
        self.residual_head.bias.copy_(solution[-1])
        missed = power - 2 * float((solution * cross).sum()) + float((solution * (gram @ solution)).sum())
        return missed / power

    def _inputs(self, pack: RefinePack) -> list[tuple[Tensor, Tensor]]:
        """Prompt and frame vectors of every sequence; neighbours that share their codes share the sum."""
        inputs: list[tuple[Tensor, Tensor]] = []
        i = 0
        while i < len(pack.layers):
            codes = pack.codes[i]
            same = i + 1
            while (
                same < len(pack.layers)
                and pack.codes[same] is codes
                and pack.layers[same] >= pack.layers[same - 1]
            ):
                same += 1
            sums = self.running_sums(codes, pack.layers[i:same])
            prompts = (self.embed_prompt(pack.prompts[j], pack.layers[j]) for j in range(i, same))
            inputs += zip(prompts, sums, strict=True)
            i = same
        return inputs

    # --- initialisation

    @torch.no_grad()
    def start_from_backbone(self, state: State) -> None:
        """Take blocks, norm, causal head, embeddings of text and coarse layers from a backbone's state.

        What the backbone never saw (markers, the embeddings above) is brought to the size of what it knows.
        """
        own = dict(self.named_parameters())
        for name, value in state.items():
            if name in own and own[name].shape == value.shape:
                own[name].copy_(value)
            elif name in ("embed.weight", "lm_head.weight") and len(value) <= len(own[name]):
                own[name][: len(value)].copy_(value)
            else:
                raise ValueError(f"the backbone's {name} {list(value.shape)} has no place in this net")
        self._bring_to_size()

    def _bring_to_size(self) -> None:
        v, table = self.vocabulary, self.embed.weight
        size = _rms(table[v.audio_offset : v.audio_offset + v.n_coarse * v.codebook_size])
        markers = table[v.superres_marker_base - v.n_codebooks + 1 : v.superres_marker_base + 1]
        markers.mul_(size / _rms(markers))
        if self.superres_config.factored:
            self.latent_proj.weight.mul_(
                size / (_rms(self.latent_proj.weight) * self.superres_config.latent_dim**0.5)
            )
            self.layer_embed.weight.mul_(0.1 * size / _rms(self.layer_embed.weight))
            for layer in range(v.n_coarse):  # the coarse codes say what they stand for, as those above do
                rows = torch.arange(v.codebook_size, device=table.device)
                first = v.audio_offset + v.codebook_size * layer
                latents = self.quantizer.latents(rows[None], layer) / self.latent_unit
                table[first : first + v.codebook_size] += self.latent_proj(latents)

    @torch.no_grad()
    def start_from_frequencies(self, shares: Tensor) -> None:
        """Begin where a model ends that knows only the codes' frequencies; shares [K, codebook_size]."""
        self.head_bias.copy_(shares.log())

    @torch.no_grad()
    def set_codec(self, state: State) -> None:
        """Take the codec's tables from its state (`quantizer.projections`, `quantizer.codebooks`)."""
        self.quantizer.projections.copy_(state["quantizer.projections"])
        self.quantizer.codebooks.copy_(state["quantizer.codebooks"])
        if "quantizer.levels" in state:
            self.residual_rms.copy_(torch.exp2(state["quantizer.levels"][: len(self.residual_rms)]))
        self._set_units(self.quantizer.projections, self.quantizer.codebooks)

    def _set_units(self, projections: Tensor, codebooks: Tensor) -> None:
        """About the size of each codebook's entries [K], and of the components of the first refined layer's
        vectors, which are the largest [].
        """
        first = min(self.vocabulary.n_coarse, len(codebooks) - 1)
        self.code_units.copy_(_power_of_two(codebooks.square().mean((1, 2)).sqrt()))
        self.latent_unit.copy_(_power_of_two(_rms(codebooks[first] @ projections[first].T)))


def _rms(x: Tensor) -> Tensor:
    return x.float().square().mean().sqrt()


def _power_of_two(x: Tensor) -> Tensor:
    return torch.where(x > 0, torch.exp2(torch.log2(x.clamp(min=1e-30)).round()), torch.ones_like(x))


def _to_codec_units(net: SuperresNet, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    state[f"{prefix}head_proj"] = state[f"{prefix}head_proj"] / net.code_units[:, None, None]
    state[f"{prefix}latent_proj.weight"] = state[f"{prefix}latent_proj.weight"] / net.latent_unit


def _from_codec_units(net: SuperresNet, state: dict[str, Any], prefix: str, *_unused: Any) -> None:
    net._set_units(state[f"{prefix}quantizer.projections"], state[f"{prefix}quantizer.codebooks"])
    units = net.code_units.to(state[f"{prefix}head_proj"].device)
    state[f"{prefix}head_proj"] = state[f"{prefix}head_proj"] * units[:, None, None]
    state[f"{prefix}latent_proj.weight"] = state[f"{prefix}latent_proj.weight"] * net.latent_unit.to(
        units.device
    )
