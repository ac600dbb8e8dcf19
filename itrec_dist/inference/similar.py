"""The items most similar to an item, by the cosine of their vectors."""

import torch
from torch import nn

from itrec_dist.errors import ConfigError
from itrec_dist.training.warm_start import ItemEmbedding


def similar(embedding: ItemEmbedding, item: str, k: int) -> list[tuple[str, str, float]]:
    """The k items with the highest cosine to an item: (source id, title, cosine), best first.

    `item` is a source id or a title.

    Raises:
        ConfigError: there is no such item, or k is out of range.
    """
    ids, titles = embedding.items.source_ids, embedding.items.titles
    if item not in ids and item not in titles:
        close = [title for title in titles if item.lower() in title.lower()][:5]
        hint = f"; did you mean {' or '.join(close)}?" if close else ": give a source id or a title"
        raise ConfigError(f"there is no item {item!r}{hint}")
    if not 1 <= k < len(ids):
        raise ConfigError(f"-k {k} is not between 1 and the catalogue's other {len(ids) - 1} items")
    at = ids.index(item) if item in ids else titles.index(item)
    unit_CD = nn.functional.normalize(embedding.vectors_VD[1:].float(), dim=1)
    cosine_C = unit_CD @ unit_CD[at]
    cosine_C[at] = -torch.inf
    values, columns = cosine_C.topk(k)
    return [
        (ids[c], titles[c] or ids[c], v)
        for v, c in zip(values.tolist(), columns.tolist(), strict=True)
    ]
