"""The rules of gyre's own BUILD files."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")

# Both are checks of some toolchains, and ignored by the others.
_FEATURES = ["layering_check", "parse_headers"]

_LINKOPTS = ["-pthread"]

def _include_prefix():
    # include_prefix takes the place of the package's path, so that path is part of it.
    package = native.package_name()
    return "gyre/" + package if package else "gyre"

def gyre_cc_library(
        name,
        hdrs = [],
        srcs = [],
        deps = [],
        features = [],
        linkopts = [],
        **kwargs):
    """A cc_library whose headers are included as "gyre/<package>/<header>".

    Args:
      name: of the target.
      hdrs: the headers for those who depend on it.
      srcs: the sources. Headers among them are included with the same path, by these sources and
        hdrs alone. Where srcs is made with select(), a header cannot be told from a source: give
        it a library of its own.
      deps: as in cc_library.
      features: as in cc_library.
      linkopts: as in cc_library.
      **kwargs: any other attribute of cc_library.
    """
    sources = srcs
    private_hdrs = []
    if type(srcs) == type([]):
        sources = [src for src in srcs if not src.endswith(".h")]
        private_hdrs = [src for src in srcs if src.endswith(".h")]

    if private_hdrs:
        # include_prefix covers hdrs only, not the headers in srcs.
        cc_library(
            name = name + "_private_hdrs",
            hdrs = private_hdrs,
            include_prefix = _include_prefix(),
            # They may include the library's own hdrs, so they are not compiled by themselves.
            features = ["-layering_check", "-parse_headers"],
            testonly = kwargs.get("testonly", False),
            visibility = ["//visibility:private"],
            deps = deps,
        )

    cc_library(
        name = name,
        srcs = sources,
        hdrs = hdrs,
        features = _FEATURES + features,
        include_prefix = _include_prefix(),
        linkopts = _LINKOPTS + linkopts,
        deps = deps + ([":" + name + "_private_hdrs"] if private_hdrs else []),
        **kwargs
    )

def gyre_cc_binary(name, features = [], linkopts = [], **kwargs):
    """A cc_binary.

    Args:
      name: of the target.
      features: as in cc_binary.
      linkopts: as in cc_binary.
      **kwargs: any other attribute of cc_binary.
    """
    cc_binary(
        name = name,
        features = _FEATURES + features,
        linkopts = _LINKOPTS + linkopts,
        **kwargs
    )

def gyre_cc_test(
        name,
        deps = [],
        features = [],
        linkopts = [],
        main = "@googletest//:gtest_main",
        size = "small",
        **kwargs):
    """A GoogleTest program.

    Args:
      name: of the target.
      deps: as in cc_test.
      features: as in cc_test.
      linkopts: as in cc_test.
      main: the library with main(); "@googletest//:gtest" for a test that has its own.
      size: as in cc_test; "small" is killed after a minute.
      **kwargs: any other attribute of cc_test.
    """
    cc_test(
        name = name,
        size = size,
        features = _FEATURES + features,
        linkopts = _LINKOPTS + linkopts,
        deps = deps + ([main] if main not in deps else []),
        **kwargs
    )
