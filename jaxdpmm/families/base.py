"""What one mixture component looks like: the contract that every family fulfils.

A family is a conjugate exponential family: a likelihood p(x | theta) = h(x) exp(<eta(theta), T(x)>) and
its conjugate prior p(theta) = exp(<natural, eta(theta)> - A(natural)) up to a fixed base measure, where
`natural` is a tree of the same structure as T(x). Two functions of *one* point and *one* component say it all:

* `sufficient_statistics(x)`, T(x);
* `log_partition(natural)`, A(natural).

Bayes' rule is then addition, natural + sum of T(x), and everything else follows: the gradient of A holds
the expectations E[eta], differences of A are the evidence, the predictive density and the
Kullback-Leibler divergence, and `jax.vmap` gives whole matrices over points and components. A subclass
may override a derived function for speed or precision; `jaxdpmm.testing.check_family` holds it equal to the
default. Not here: mixture weights (`sticks/`) and inference (`model.py`, the next file to read).

Subclasses are frozen dataclasses without arrays: hashable, hence static under `jax.jit`. They name no precision:
whatever they compute is computed in full float32, on every platform (`../precision.py`).
"""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, PRNGKeyArray

from jaxdpmm import trees
from jaxdpmm.families.likelihood import Likelihood, Params, every_pair

Natural = Any  # a tree shaped like T(x)


class Family(Likelihood):
    """A conjugate exponential family. Required: `sufficient_statistics` and `log_partition`."""

    # ------------------------------------------------------------------ required

    @abc.abstractmethod
    def sufficient_statistics(self, x: Num[Array, "..."]) -> Natural:
        """T(x) of one point, a tree shaped like the prior's natural parameter."""

    @abc.abstractmethod
    def log_partition(self, natural: Natural) -> Float[Array, ""]:
        """A(natural) of one component: the log normaliser of the conjugate prior."""

    # ------------------------------------------------------------------ optional

    def log_base_measure(self, x: Num[Array, "..."]) -> Float[Array, ""]:
        """Log h(x) of one point, without the part that `log_partition` holds. Default 0."""
        return jnp.zeros((), x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else float)

    def reference_point(self, x: Num[Array, "N ..."]) -> Array | None:
        """A point to subtract from all data before T(x), for precision in float32; None for none.

        Families whose statistics are products of features (Gaussians) return the mean of the data.
        """
        return None

    def default_prior(self, x: Num[Array, "N ..."], num_components: int) -> Natural:
        """Natural parameter of a data-driven prior for one component; `x` is centred already.

        Raises:
            TypeError: the family has none, so that `Prior(component=...)` has to be given.
        """
        raise TypeError(
            f"{type(self).__name__} has no default_prior: expected the method "
            "default_prior(x, num_components), got none; write it, or build Prior(component=...) yourself."
        )

    def offers(self, function: str) -> bool:
        """Whether the family has written an optional function, such as `sample_params`."""
        return getattr(type(self), function) is not getattr(Family, function)

    def sample_params(self, key: PRNGKeyArray, natural: Natural) -> Params:
        """Draw the parameters of one component from its (posterior) distribution; Gibbs needs it.

        Returns:
            A tree that `log_likelihood` accepts.

        Raises:
            TypeError: the family does not offer it.
        """
        raise TypeError(
            f"{type(self).__name__} cannot be sampled: expected the method sample_params(key, natural), "
            "got none; write it to use Gibbs, or use cavi, which needs no draws."
        )

    def point_params(self, natural: Natural) -> Params:
        """A point estimate of the parameters of one component; plug-in scores and online EM need it.

        Returns:
            A tree that `log_likelihood` accepts. With a field `mean` of the shape of one point, the
            distances of `jaxdpmm.scoring` work too.

        Raises:
            TypeError: the family does not offer it.
        """
        raise TypeError(
            f"{type(self).__name__} has no point estimate: expected the method point_params(natural), "
            "got none; write it, or use the predictive density, which needs none."
        )

    is_restricted: ClassVar[bool] = False
    """Whether components share something, so that `restrict` changes them."""

    def restrict(self, components: Natural) -> Natural:
        """The allowed q of all components that is nearest to the given ones; leaves lead with K.

        For families whose components share a parameter, such as one covariance. Nearest means that the sum over k of
        KL(q_k || given_k) is least, so that coordinate ascent never lowers the bound. Most families allow everything,
        and return what they are given.
        """
        return components

    def is_proper(self, natural: Natural) -> bool:
        """Whether natural parameters read from a file can be those of distributions; leaves lead with K, NumPy.

        Asked once when a model is saved or loaded, so that a file with values that no fit gives is refused. What is
        True for a rounding error away from proper must stay True. Default: all values are finite.
        """
        return all(bool(np.isfinite(leaf).all()) for leaf in jax.tree.leaves(natural))

    # ------------------------------------------------- derived: one component, one point

    def expected_natural(self, natural: Natural) -> Natural:
        """E[eta(theta)], the gradient of A: a tree shaped like `natural`."""
        return jax.grad(self.log_partition)(natural)

    def expected_params(self, natural: Natural) -> Params:
        """Parameters with which `log_likelihood` is E[log p(x | theta)]. Default E[eta(theta)]."""
        return self.expected_natural(natural)

    def log_likelihood(self, params: Params, x: Num[Array, "..."]) -> Float[Array, ""]:
        """<params, T(x)> + log h(x): one component, one point."""
        return trees.dot(params, self.sufficient_statistics(x)) + self.log_base_measure(x)

    def predictive_params(self, natural: Natural) -> Params:
        """What `log_predictive` needs of one component, computed once for all points."""
        return natural

    def log_predictive(self, params: Params, x: Num[Array, "..."]) -> Float[Array, ""]:
        """Log p(x | data) with theta integrated out, A(natural + T(x)) - A(natural) + log h(x)."""
        grown = trees.add(params, self.sufficient_statistics(x))
        return self.log_partition(grown) - self.log_partition(params) + self.log_base_measure(x)

    def kl_divergence(self, natural: Natural, prior: Natural) -> Float[Array, ""]:
        """KL(q || p) of one component's q = `natural` from p = `prior`; never negative."""
        difference = trees.dot(trees.subtract(natural, prior), self.expected_natural(natural))
        return difference - self.log_partition(natural) + self.log_partition(prior)

    # ------------------------------------------------- derived: all points, all components

    def weighted_statistics(
        self, x: Num[Array, "N ..."], responsibilities: Float[Array, "N K"]
    ) -> Natural:
        """sum_n r_nk T(x_n): a tree whose leaves have a leading axis K."""
        statistics = jax.vmap(self.sufficient_statistics)(x)
        return jax.tree.map(
            lambda leaf: jnp.einsum("n...,nk->k...", leaf, responsibilities), statistics
        )

    @property
    def has_local_variables(self) -> bool:
        """Whether components have variables of their own for every point, such as latent factors."""
        return self.offers("local_statistics")

    def local_statistics(
        self,
        params: Params | None,
        x: Num[Array, "N ..."],
        responsibilities: Float[Array, "N K"],
    ) -> tuple[Natural, Float[Array, ""]]:
        """`weighted_statistics` of a family that is conjugate given local variables y of every point only.

        Such a family returns sum_n r_nk E[T(x_n, y_n)] under the best q(y_n | z_n = k) that the read-out allows, and
        its `log_likelihood` is the log of the integral over y of exp(E[log p(x, y | theta)]). Most have none.

        Args:
            params: what the E-step read out; None at the start, where there is nothing to read.
            x: centred points.
            responsibilities: r_nk, times sample weights.

        Returns:
            The statistics, and sum_nk r_nk (entropy of q(y_n | k) + E[log p(y_n)]), which belongs to the bound.
        """
        del params
        zero = jnp.zeros((), responsibilities.dtype)
        return self.weighted_statistics(x, responsibilities), zero

    def log_likelihood_matrix(self, params: Params, x: Num[Array, "N ..."]) -> Float[Array, "N K"]:
        """`log_likelihood` of every point under every component; leaves of `params` lead with K.

        <params, T(x)> is linear in both, hence one matrix product a leaf; a family with a `log_likelihood` of its own
        is taken point by point.
        """
        if type(self).log_likelihood is not Family.log_likelihood:
            return super().log_likelihood_matrix(params, x)
        statistics = jax.vmap(self.sufficient_statistics)(x)
        pairs = zip(*map(jax.tree.leaves, (statistics, params)), strict=True)
        base = jax.vmap(self.log_base_measure)(x)[:, None]
        return sum((_rows(statistic) @ _rows(param).T for statistic, param in pairs), base)

    def proposal_matrix(self, params: Params, x: Num[Array, "N ..."]) -> Float[Array, "N K"]:
        """Cheap scores that rank components much as `log_likelihood_matrix` does.

        The candidate E-step scores exactly only what ranks high here. Default: the exact matrix itself; a
        family whose matrix costs more than N K D overrides it.
        """
        return self.log_likelihood_matrix(params, x)

    def log_predictive_matrix(self, params: Params, x: Num[Array, "N ..."]) -> Float[Array, "N K"]:
        """`log_predictive` of every point under every component; leaves of `params` lead with K."""
        return every_pair(self.log_predictive, params, x)


def _rows(leaf: Array) -> Array:
    """The leading axis and one for all others."""
    return leaf.reshape(leaf.shape[0], -1)
