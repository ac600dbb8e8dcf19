from dataclasses import replace

import pytest
import torch
from torch import nn

from itrec_dist.data import spec as data_spec
from itrec_dist.data.batches import whole_batch
from itrec_dist.data.schema import PAD
from itrec_dist.data.shards import reader
from itrec_dist.losses import LOSSES
from itrec_dist.losses.bce import BceConfig
from itrec_dist.models.ite import ITE, ITEConfig
from itrec_dist.tasks.next_items.task import NextItems
from tests.shards_factory import make_shards, random_windows

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
LEVELS = ("none", "user", "movie", "both")
SMALL = ITEConfig(
    width=16, num_layers=2, num_heads=2, feedforward_width=24, dropout=0.3, movie_feature_width=5
)


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards") / "shards"
    manifest = make_shards(folder, {"train": random_windows(200)})
    return data_spec.build(manifest, reader.read_items(folder, manifest))


@pytest.fixture
def batch():
    return whole_batch(random_windows(30, seed=5), CPU)


def build(spec, level, seed=0, **settings):
    """A model in evaluation mode whose weights are large enough for every input to matter."""
    torch.manual_seed(seed)
    model = ITE(replace(SMALL, side_information=level, **settings), spec).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape))
    return model


def scores_of(model, batch):
    """The scores of every item, [B, C]."""
    return model.item_table().all_scores(model.encode(batch))


def without_padding(scores_of, batch):
    """Score each window on its own, cut to its real items."""
    rows = []
    for row in range(len(batch.item_ids_BL)):
        real = batch.item_ids_BL[row] != PAD
        rows.append(
            scores_of(
                batch.item_ids_BL[row][real],
                batch.ratings_BL[row][real],
                batch.user_features_BF[row],
                real.nonzero().squeeze(1),
            )
        )
    return torch.stack(rows)


def torch_layers(model):
    """The same encoder out of torch's own parts, with the same weights."""
    c = model.config
    built = []
    for layer in model.layers:
        twin = nn.TransformerEncoderLayer(
            c.width, c.num_heads, c.feedforward_width, activation="gelu", batch_first=True
        )
        twin.self_attn.in_proj_weight.data = layer.qkv.weight.data
        twin.self_attn.in_proj_bias.data = layer.qkv.bias.data
        pairs = (
            (twin.self_attn.out_proj, layer.attended),
            (twin.norm1, layer.norm_attention),
            (twin.linear1, layer.expand),
            (twin.linear2, layer.contract),
            (twin.norm2, layer.norm_feedforward),
        )
        for one, other in pairs:
            one.load_state_dict(other.state_dict())
        built.append(twin)
    return nn.Sequential(*built).eval()


def reference(model, spec):
    """The paper's forward pass for one window of real items, one item and feature at a time."""
    encoder = torch_layers(model)

    def scores(item_ids, ratings, user_codes, positions):
        vectors = []
        for item, rating, position in zip(item_ids, ratings, positions, strict=True):
            parts = [model.item_embedding.weight[item]]
            if model.config.uses_movie:
                parts.append(model.movie_projection(spec.item_features_VF.to_dense()[item]))
            place = model.position_embedding.weight[position]
            scaled = (rating - spec.rating_mean) / spec.rating_std
            vectors.append(torch.cat([torch.cat(parts) + place, scaled.view(1)]))
        if model.config.uses_user:
            width = sum(c + 1 for c in spec.user_cardinalities)
            one_hot, start = torch.zeros(width), 0
            for code, cardinality in zip(user_codes, spec.user_cardinalities, strict=True):
                one_hot[start + code] = 1.0
                start += cardinality + 1
            vectors.insert(0, one_hot @ model.user_projection.weight + model.user_bias)
        encoded = encoder(torch.stack(vectors).unsqueeze(0)).squeeze(0)
        return model.output(encoded.mean(dim=0))

    return scores


@pytest.mark.parametrize("level", LEVELS)
def test_scores_are_those_of_a_reference_that_sees_the_real_items_only(level, spec, batch):
    model = build(spec, level)
    assert (batch.item_ids_BL == PAD).any()
    assert not (batch.item_ids_BL == PAD).all(1).any()
    with torch.no_grad():
        expected = without_padding(reference(model, spec), batch)
        torch.testing.assert_close(scores_of(model, batch), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("level", LEVELS)
def test_gradients_are_those_of_the_reference(level, spec, batch):
    model = build(spec, level)
    pick = torch.randn(30, spec.num_items, generator=torch.Generator().manual_seed(0))
    # The weights outside the encoder are shared with the reference, so both reach them.
    names = [n for n, p in model.named_parameters() if not n.startswith("layers.")]
    weights = [dict(model.named_parameters())[name] for name in names]
    given = torch.autograd.grad((scores_of(model, batch) * pick).sum(), weights)
    scores = without_padding(reference(model, spec), batch)
    for name, one, other in zip(
        names, given, torch.autograd.grad((scores * pick).sum(), weights), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_scores_are_float32_of_every_item_under_any_precision(level, precision, spec, batch):
    model = build(spec, level)
    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    exact = scores_of(model, batch)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        scores = scores_of(model, batch)
    assert scores.shape == (30, spec.num_items)
    assert scores.dtype == torch.float32
    assert (scores - exact).abs().max() < 0.1 * exact.std()


def test_the_encoder_is_as_wide_at_every_level(spec, batch):
    shapes, sizes = {}, {}
    for level in LEVELS:
        model = build(spec, level)

        def note(module, given, _, level=level):
            shapes[level] = tuple(given[0].shape)

        model.layers[0].register_forward_hook(note)
        scores_of(model, batch)
        encoder = [*model.layers.parameters(), *model.output.parameters()]
        sizes[level] = sum(p.numel() for p in encoder)
    assert shapes == {
        "none": (30, 4, 16), "movie": (30, 4, 16), "user": (30, 5, 16), "both": (30, 5, 16),
    }  # fmt: skip
    assert len(set(sizes.values())) == 1


def test_parameters_by_hand(spec):
    items, per_layer = spec.num_items, 4 * 16 * 17 + 2 * 16 * 24 + 16 + 24 + 4 * 16
    shared = 4 * 15 + 2 * per_layer + 17 * items
    user, features = (3 + 4 + 1) * 16, spec.item_features_VF.shape[1] + 1
    expected = {
        "none": 15 * (items + 1),
        "user": 15 * (items + 1) + user,
        "movie": 10 * (items + 1) + 5 * features,
        "both": 10 * (items + 1) + 5 * features + user,
    }
    for level in LEVELS:
        count = sum(p.numel() for p in build(spec, level).parameters())
        assert count == shared + expected[level], level


def test_weights_keep_their_names_and_order_so_that_checkpoints_can_be_read(spec):
    """Optimiser states go by the order, weights by the names."""
    names = list(build(spec, "both", repeat_bias=True).state_dict())
    layer = [
        f"{part}.{kind}"
        for part in ("qkv", "attended", "norm_attention", "expand", "contract", "norm_feedforward")
        for kind in ("weight", "bias")
    ]
    assert names == [
        "user_bias", "repeat_weights", "item_embedding.weight", "position_embedding.weight",
        "movie_projection.weight", "movie_projection.bias", "user_projection.weight",
        *(f"layers.{i}.{name}" for i in (0, 1) for name in layer), "output.weight", "output.bias",
    ]  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_reacts_to_its_own_features_only(level, spec, batch):
    model = build(spec, level)
    other_users = replace(batch, user_features_BF=(batch.user_features_BF + 1) % 3)
    other_items = build(
        replace(spec, item_features_VF=spec.item_features_VF.to_dense().flip(1)), level
    )
    other_items.load_state_dict(model.state_dict())
    reacts_to_user = not torch.equal(scores_of(model, batch), scores_of(model, other_users))
    reacts_to_movie = not torch.equal(scores_of(model, batch), scores_of(other_items, batch))
    assert reacts_to_user == (level in ("user", "both"))
    assert reacts_to_movie == (level in ("movie", "both"))


@pytest.mark.parametrize("feature", [0, 1])
def test_every_user_feature_has_codes_of_its_own(feature, spec, batch):
    model = build(spec, "user")
    distinct = []
    for code in range(spec.user_cardinalities[feature] + 1):  # 0 is "unknown"
        codes = torch.zeros_like(batch.user_features_BF)
        codes[:, feature] = code
        distinct.append(scores_of(model, replace(batch, user_features_BF=codes))[0])
    for i, one in enumerate(distinct):
        assert all(not torch.allclose(one, other) for other in distinct[:i])


@pytest.mark.parametrize("level", LEVELS)
def test_ratings_matter_where_there_is_an_item_only(level, spec, batch):
    model = build(spec, level)
    is_item = batch.item_ids_BL != PAD
    scores = scores_of(model, batch)
    in_padding = torch.where(is_item, batch.ratings_BL, 77.0)
    assert torch.equal(scores_of(model, replace(batch, ratings_BL=in_padding)), scores)
    flipped = torch.where(is_item, 6 - batch.ratings_BL, 0.0)
    assert not torch.allclose(scores_of(model, replace(batch, ratings_BL=flipped)), scores)


def test_order_matters(spec):
    windows = random_windows(1, seed=2)
    windows.item_ids[:] = [[3, 4, 5, 6]]
    windows.ratings[:] = 4.0
    model, one = build(spec, "none"), whole_batch(windows, CPU)
    turned = replace(one, item_ids_BL=one.item_ids_BL.flip(1))
    assert not torch.allclose(scores_of(model, one), scores_of(model, turned))


def test_the_repeat_bias_moves_the_scores_of_the_input_items_alone(spec, batch):
    """By hand: each input position adds its own weight to the score of the item it holds."""
    model = build(spec, "both", repeat_bias=True)
    with torch.no_grad():
        model.repeat_weights.zero_()
        plain_BC = scores_of(model, batch)
        model.repeat_weights.copy_(torch.tensor([0.1, -0.2, 0.3, -0.4]))
        scores_BC = scores_of(model, batch)
    expected_BC = plain_BC.clone()
    for row, items in enumerate(batch.item_ids_BL.tolist()):
        for item, weight in zip(items, [1.0, -2.0, 3.0, -4.0], strict=True):
            if item != PAD:
                expected_BC[row, item - 1] += weight
    torch.testing.assert_close(scores_BC, expected_BC)
    assert not torch.equal(scores_BC, plain_BC)


@pytest.mark.parametrize("loss", ["bce", "ce", "softmax"])
def test_an_untrained_task_ranks_by_training_popularity(loss, spec, batch):
    counts = torch.tensor([700, 350, 180, 90, 45, 22, 11, 5, 2, 0, 1400, 2800])
    popular = replace(spec, target_counts_C=counts, num_train_windows=10_000)
    torch.manual_seed(0)
    task = NextItems(replace(SMALL, width=16), LOSSES[loss](), popular).eval()
    order = counts.argsort(descending=True)
    ranked = task(batch).top_ids_BN - 1
    agreeing = (ranked[:, :9] == order[:9]).float().mean()
    assert agreeing > 0.95
    assert (ranked[:, 0] == 11).all()


def test_the_padding_row_is_zero_and_stays_so(spec, batch):
    torch.manual_seed(0)
    task = NextItems(SMALL, BceConfig(), spec)
    task(batch).loss_B.sum().backward()
    embedding = task.model.item_embedding.weight
    assert not embedding[PAD].any()
    assert not embedding.grad[PAD].any()


def test_data_of_one_rating_value_divides_by_nothing(spec, batch):
    constant = replace(spec, rating_mean=3.0, rating_std=0.0)
    assert scores_of(build(constant, "both"), batch).isfinite().all()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_heads": 3}, r"num_heads=3 does not divide model.width=16"),
        ({"width": 0}, "model.width"),
        ({"num_layers": 0}, "num_layers"),
        ({"dropout": 1.0}, "model.dropout=1.0"),
        ({"dropout": float("nan")}, "model.dropout=nan"),
        ({"movie_feature_width": 15}, "model.movie_feature_width=15"),
        ({"movie_feature_width": 0}, "model.movie_feature_width=0"),
    ],
)
def test_impossible_shapes_are_refused_by_name(settings, named):
    with pytest.raises(ValueError, match=named):
        replace(SMALL, **settings)
