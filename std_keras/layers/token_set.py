"""The spatial and the channel token that learn from one teacher at one site."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from std_keras.layers.layer_norm import LayerNorm
from std_keras.layers.mlp import MLP, check_gelu

TOKEN_KINDS = ("both", "spatial", "channel")


@keras.saving.register_keras_serializable(package="std_keras")
class TokenSet(keras.layers.Layer):
    """Updates a spatial and a channel token from features that it only reads.

    Spatial-channel Token Distillation, Li et al. 2022 (ICML, PMLR 162:12685-12695): T_S is one
    more row beside the P patches, T_C one more column beside the N channels.

    - spatial: LayerNorm over the channels of [z; T_S], (P+1, N); per channel an MLP along the P+1
      rows, P+1 -> N/2 -> 1; added to T_S;
    - channel: LayerNorm over the N+1 columns of [z, T_C], (P, N+1); per patch an MLP along the
      columns, N+1 -> 4N -> 1; added to T_C.

    The MLPs return the token alone, and their hidden widths are N/2 and 4N: the reading that gives
    the published parameter counts. Called as `layer(features)` or `layer(features, tokens=...)`
    with features (B, P, N). Returns a dictionary with those of {"spatial": (B, N),
    "channel": (B, P)} that `tokens` asks for; the input tokens have the same form.

    Args:
      teacher: index of the teacher; with `site` it gives the default name
        "tokens_{teacher}_{site}".
      site: where the features come from, "last" or "intermediate".
      tokens: "both", "spatial" or "channel".
      token_mlps: how many LayerNorm + MLP pairs are stacked; each reads the same features and the
        token that the one before it returned.
      own_tokens: False if the tokens come as an input and the layer has none itself.
      gelu: "exact" or "tanh".
      layer_norm_epsilon: added to the variance in the normalisations.
    """

    def __init__(
        self,
        teacher: int,
        site: str,
        tokens: str = "both",
        token_mlps: int = 1,
        own_tokens: bool = True,
        gelu: str = "exact",
        layer_norm_epsilon: float = 1e-6,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name or f"tokens_{teacher}_{site}", **kwargs)
        if tokens not in TOKEN_KINDS:
            raise ValueError(f"tokens={tokens!r} is not one of {', '.join(TOKEN_KINDS)}")
        if token_mlps < 1:
            raise ValueError(f"token_mlps={token_mlps} must be at least 1")
        self.teacher = teacher
        self.site = site
        self.tokens = tokens
        self.token_mlps = token_mlps
        self.own_tokens = own_tokens
        self.gelu = check_gelu(gelu)
        self.layer_norm_epsilon = layer_norm_epsilon

    @property
    def token_names(self) -> tuple[str, ...]:
        """Keys of the result, spatial first."""
        return ("spatial", "channel") if self.tokens == "both" else (self.tokens,)

    def build(self, features_shape: tuple[int | None, ...], tokens_shape: Any = None) -> None:
        batch, patches, channels = features_shape
        if patches is None or channels is None:
            raise ValueError(
                f"features shape {tuple(features_shape)} must be (B, P, N) with fixed P, N"
            )
        if self.own_tokens != (tokens_shape is None):
            raise ValueError(
                f"own_tokens={self.own_tokens}: tokens must be given as an input exactly when "
                "own_tokens is False"
            )
        if "spatial" in self.token_names:
            if self.own_tokens:
                self.spatial_token = self._token("spatial_token", (1, channels))
            self.spatial_norms, self.spatial_mlps = self._pairs(
                "spatial",
                hidden=max(1, channels // 2),
                norm_shape=(batch, patches + 1, channels),
                mlp_shape=(batch, channels, patches + 1),
            )
        if "channel" in self.token_names:
            if self.own_tokens:
                self.channel_token = self._token("channel_token", (patches, 1))
            self.channel_norms, self.channel_mlps = self._pairs(
                "channel",
                hidden=4 * channels,
                norm_shape=(batch, patches, channels + 1),
                mlp_shape=(batch, patches, channels + 1),
            )

    def _token(self, name: str, shape: tuple[int, int]) -> Any:
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        return self.add_weight(name=name, shape=shape, initializer=initializer)

    def _pairs(
        self, kind: str, *, hidden: int, norm_shape: tuple[Any, ...], mlp_shape: tuple[Any, ...]
    ) -> tuple[list[Any], list[Any]]:
        norms, mlps = [], []
        for i in range(self.token_mlps):
            norm = LayerNorm(
                epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=f"{kind}_norm_{i}"
            )
            mlp = MLP(hidden, 1, self.gelu, dtype=self.dtype_policy, name=f"{kind}_mlp_{i}")
            norm.build(norm_shape)
            mlp.build(mlp_shape)
            norms.append(norm)
            mlps.append(mlp)
        return norms, mlps

    def call(self, features: Any, tokens: dict[str, Any] | None = None) -> dict[str, Any]:
        batch = ops.shape(features)[0]
        _, patches, channels = features.shape
        updated = {}
        if "spatial" in self.token_names:
            if tokens is None:
                token = ops.broadcast_to(self.spatial_token, (batch, 1, channels))
            else:
                token = ops.expand_dims(tokens["spatial"], 1)
            for norm, mlp in zip(self.spatial_norms, self.spatial_mlps, strict=True):
                rows = norm(ops.concatenate([features, token], axis=1))
                update = mlp(ops.transpose(rows, (0, 2, 1)))
                token = token + ops.transpose(update, (0, 2, 1))
            updated["spatial"] = ops.squeeze(token, 1)
        if "channel" in self.token_names:
            if tokens is None:
                token = ops.broadcast_to(self.channel_token, (batch, patches, 1))
            else:
                token = ops.expand_dims(tokens["channel"], 2)
            for norm, mlp in zip(self.channel_norms, self.channel_mlps, strict=True):
                token = token + mlp(norm(ops.concatenate([features, token], axis=2)))
            updated["channel"] = ops.squeeze(token, 2)
        return updated

    def compute_output_shape(
        self, features_shape: tuple[int | None, ...], tokens_shape: Any = None
    ) -> dict[str, tuple[int | None, ...]]:
        batch, patches, channels = features_shape
        shapes = {"spatial": (batch, channels), "channel": (batch, patches)}
        return {name: shapes[name] for name in self.token_names}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "teacher": self.teacher,
            "site": self.site,
            "tokens": self.tokens,
            "token_mlps": self.token_mlps,
            "own_tokens": self.own_tokens,
            "gelu": self.gelu,
            "layer_norm_epsilon": self.layer_norm_epsilon,
        }
