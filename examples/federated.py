"""Several sites learn one mixture together over the network; their data stay where they are.

    python examples/federated.py [NUM_SITES]

Each site is a process of its own that has images of its own camera. The coordinator sends the mixture as it is, each
site answers with the sums of its statistics under it, some kilobytes whatever number of points it has, and the
coordinator adds them up: one exact sweep over the data of all sites. At the end each site learns how much of a new
batch each of them explains.
"""

import multiprocessing
import sys
from multiprocessing.connection import Client, Connection, Listener

import jax
import jax.numpy as jnp
import numpy as np

from jaxdpmm import GaussianSpherical, Mixture, default_prior, initialize
from jaxdpmm.inference import from_stats, partial_fit
from jaxdpmm.sites import check_same_backbone, merge_for, site_shares
from jaxdpmm.trees import add

MIXTURE = Mixture(GaussianSpherical(8), 6)
NUM_SWEEPS = 5
BACKBONE = "dinov2-small, layer 12"


def points(site: int, num_points: int = 2000) -> np.ndarray:
    """Three kinds of points that all sites have, as the camera of the site sees them."""
    shared, own = np.random.default_rng(0), np.random.default_rng(site + 1)
    centres = 6 * shared.normal(size=(3, 8)) + 1.5 * own.normal(size=8)
    return (centres[own.integers(3, size=num_points)] + own.normal(size=(num_points, 8))).astype(
        np.float32
    )


def run_site(number: int, address: tuple[str, int], key: bytes) -> None:
    """What runs at a site: statistics of its own points under whatever mixture is sent."""
    x = points(number)
    with Client(address, authkey=key) as coordinator:
        coordinator.send((f"site {number}", BACKBONE))
        while (message := coordinator.recv()) is not None:
            prior, posterior = jax.tree.map(jnp.asarray, message)
            _, stats = partial_fit(MIXTURE, prior, posterior, x)
            coordinator.send(jax.tree.map(np.asarray, stats))


def main(num_sites: int = 3) -> None:
    """Coordinate: send the mixture, add up statistics, and weigh the sites for a new batch."""
    context, key = multiprocessing.get_context("spawn"), b"among ourselves"
    with Listener(("127.0.0.1", 0), authkey=key) as listener:
        processes = [
            context.Process(target=run_site, args=(number, listener.address, key))
            for number in range(num_sites)
        ]
        for process in processes:
            process.start()
        sites = [listener.accept() for _ in processes]
        answers = [site.recv() for site in sites]  # in the order in which they called
        check_same_backbone(dict(answers))
        of_sites = learn(sites)
        for site in sites:
            site.send(None)
            site.close()
        for process in processes:
            process.join()
    names = [name for name, _ in answers]
    shares = site_shares(MIXTURE, of_sites, points(0, 500))
    for name, weight in sorted(zip(names, shares.weights.tolist(), strict=True)):
        print(f"{name} explains {weight / num_sites:.0%} of a new batch of site 0")


def learn(sites: list[Connection]) -> list:
    """The posterior of each site after sweeps that all took part in."""
    sample = points(
        0, 200
    )  # all that the coordinator sees, for a start; any points of this kind would do
    prior = default_prior(MIXTURE, sample)
    posterior = initialize(MIXTURE, prior, sample, key=jax.random.key(0))
    for sweep in range(NUM_SWEEPS):
        for site in sites:
            site.send(jax.tree.map(np.asarray, (prior, posterior)))
        parts = [jax.tree.map(jnp.asarray, site.recv()) for site in sites]
        total = parts[0]
        for part in parts[1:]:
            total = add(total, part)
        posterior = from_stats(MIXTURE, prior, total)
        print(
            f"sweep {sweep + 1}: {float(posterior.counts.sum()):.0f} points of {len(sites)} sites"
        )
    of_sites = [from_stats(MIXTURE, prior, part) for part in parts]
    merged = merge_for(MIXTURE, prior, of_sites, points(0, 500))
    print(f"weighed for a batch of site 0: {float(merged.counts.sum()):.0f} points")
    return of_sites


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
