"""The event loops that the benchmarks compare gyre with: Debian's packages, where they are installed.

With Bazel 8 and newer, which do not read deps.bzl, there are none: what needs one is left out, and
what can do without is built without.
"""

load(":gyre.bzl", "gyre_cc_binary")

# Only with MODULE.bazel does a label of the main repository start with two.
_NONE = str(Label("//bazel:peers.bzl")).startswith("@@")

def peers(names):
    """The peers of these names that are there, as deps; each defines GYRE_PEER_<NAME>.

    Args:
      names: of asio, libev, libevent, libuv.

    Returns:
      a list of labels.
    """
    return [] if _NONE else ["@gyre_peers//:" + name for name in names]

def peer_binary(name, peer, deps = [], **kwargs):
    """A gyre_cc_binary that needs a peer. Where it is missing //... leaves the program out.

    Args:
      name: of the target.
      peer: asio, libev, libevent or libuv.
      deps: as in cc_binary.
      **kwargs: any other attribute of gyre_cc_binary.
    """
    gyre_cc_binary(
        name = name,
        target_compatible_with = ["@platforms//:incompatible"] if _NONE else [],
        deps = deps + ([] if _NONE else ["@gyre_peers//:%s_required" % peer]),
        **kwargs
    )
