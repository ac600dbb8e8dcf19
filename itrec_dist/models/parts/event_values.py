"""Columns of the events, such as device or price, as vectors that are added to those of events."""

import torch
from torch import nn

from itrec_dist.data.event_features import FIRST_VALUE
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError

_STD = 0.02


def refuse_absent(names: tuple[str, ...], data: Manifest) -> None:
    """Refuse names of columns that the data does not have.

    Raises:
        ConfigError: the message names those that it has.
    """
    there = [feature.name for feature in data.event_features]
    given = f"model.event_features=[{', '.join(names)}]"
    if names and not there:
        raise ConfigError(
            f"{given} needs columns of events, the shards have none: window the data with "
            "--samples histories and --event_features or --event_numbers, or leave it out"
        )
    if unknown := [name for name in names if name not in there]:
        raise ConfigError(
            f"{given}: the shards have no column {unknown[0]!r} of events, but {', '.join(there)}"
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"{given} names {twice[0]} twice: give each once")


class EventValues(nn.Module):
    """A vector per value of the chosen columns, and one each for a missing and an unknown value.

    Those two start at zero, which says nothing: what training never shows stays there.
    """

    def __init__(self, names: tuple[str, ...], spec: DataSpec, width: int) -> None:
        super().__init__()
        places = {feature.name: place for place, feature in enumerate(spec.event_features)}
        self.places = [places[name] for name in names]
        self.values = nn.ModuleList()
        for place in self.places:
            vectors = nn.Embedding(spec.event_features[place].num_codes, width)
            nn.init.normal_(vectors.weight, std=_STD)
            nn.init.zeros_(vectors.weight[:FIRST_VALUE])
            self.values.append(vectors)

    def forward(self, batch: Batch, is_known_BL: torch.Tensor) -> torch.Tensor:
        """The sum of the vectors of each event, [B, L, D]; zero where an event is not known."""
        codes_BLG = batch.event_features_BLG
        assert codes_BLG is not None, "data with such columns has them in every batch"
        total = torch.zeros((), device=codes_BLG.device)
        for place, vectors in zip(self.places, self.values, strict=True):
            total = total + vectors(codes_BLG[:, :, place])
        return total * is_known_BL.unsqueeze(2)
