"""gyre_deps(): what gyre needs where there is no MODULE.bazel, on Debian 12 with its Bazel 4.2.

A repository that the caller has defined before is left alone, so each can be replaced. Nothing is
fetched before something depends on it: whoever needs only @gyre needs only libabsl-dev.
"""

load(":debian.bzl", "native_rules_repo", "optional_repo", "pkgconfig_repo", "stub_repo")

# Package to its targets; the pkg-config module of a target is absl_<target>.
_ABSL = {
    "absl/algorithm": ["algorithm"],
    "absl/base": ["base", "config", "core_headers", "dynamic_annotations", "log_severity"],
    "absl/cleanup": ["cleanup"],
    "absl/container": [
        "btree",
        "fixed_array",
        "flat_hash_map",
        "flat_hash_set",
        "inlined_vector",
        "node_hash_map",
        "node_hash_set",
    ],
    "absl/debugging": ["failure_signal_handler", "leak_check", "stacktrace", "symbolize"],
    "absl/functional": ["any_invocable", "bind_front", "function_ref"],
    "absl/hash": ["hash"],
    "absl/memory": ["memory"],
    "absl/meta": ["type_traits"],
    "absl/numeric": ["bits", "int128"],
    "absl/status": ["status", "statusor"],
    "absl/strings": ["cord", "str_format", "strings"],
    "absl/synchronization": ["synchronization"],
    "absl/time": ["time"],
    "absl/types": ["any", "compare", "optional", "span", "variant"],
    "absl/utility": ["utility"],
}

# Those whose module is named otherwise.
_ABSL_RENAMED = {
    "absl/algorithm:container": "absl_algorithm_container",
    "absl/flags:commandlineflag": "absl_flags_commandlineflag",
    "absl/flags:config": "absl_flags_config",
    "absl/flags:flag": "absl_flags",
    "absl/flags:marshalling": "absl_flags_marshalling",
    "absl/flags:parse": "absl_flags_parse",
    "absl/flags:reflection": "absl_flags_reflection",
    "absl/flags:usage": "absl_flags_usage",
    "absl/random:bit_gen_ref": "absl_random_bit_gen_ref",
    "absl/random:distributions": "absl_random_distributions",
    "absl/random:random": "absl_random_random",
    "absl/random:seed_sequences": "absl_random_seed_sequences",
}

_CC_RULES = [
    "cc_binary",
    "cc_import",
    "cc_library",
    "cc_proto_library",
    "cc_test",
    # Bazel's own tools load these.
    "cc_toolchain",
    "cc_toolchain_suite",
    "objc_library",
]

_JAVA_RULES = [
    "java_binary",
    "java_import",
    "java_library",
    "java_package_configuration",
    "java_plugin",
    "java_runtime",
    "java_test",
    "java_toolchain",
]

_COVERAGE_TOOL = """
# Every cc_test names this tool; "bazel coverage" itself is not supported here.
filegroup(name = "coverage_report_generator", visibility = ["//visibility:public"])
"""

def _absl_targets():
    targets = dict(_ABSL_RENAMED)
    for package, names in _ABSL.items():
        for name in names:
            targets["%s:%s" % (package, name)] = "absl_" + name
    return targets

def gyre_deps():
    """Defines the repositories that gyre's BUILD files name, unless they exist already."""
    if not native.existing_rule("abseil-cpp"):
        pkgconfig_repo(name = "abseil-cpp", apt = ["libabsl-dev"], targets = _absl_targets())

    if not native.existing_rule("googletest"):
        pkgconfig_repo(
            name = "googletest",
            apt = ["libgtest-dev", "libgmock-dev"],
            # Upstream's two targets hold gMock too.
            targets = {":gtest": "gmock", ":gtest_main": "gmock_main"},
        )

    if not native.existing_rule("google_benchmark"):
        pkgconfig_repo(
            name = "google_benchmark",
            apt = ["libbenchmark-dev"],
            # benchmark_main has no .pc file.
            targets = {":benchmark": "benchmark", ":benchmark_main": "-lbenchmark_main -lbenchmark"},
        )

    if not native.existing_rule("openssl"):
        pkgconfig_repo(
            name = "openssl",
            apt = ["libssl-dev"],
            targets = {":ssl": "openssl", ":crypto": "libcrypto"},
        )

    if not native.existing_rule("re2"):
        pkgconfig_repo(name = "re2", apt = ["libre2-dev"], targets = {":re2": "re2"})

    # What the benchmarks compare gyre with; see peers.bzl.
    if not native.existing_rule("gyre_peers"):
        optional_repo(
            name = "gyre_peers",
            define_prefix = "GYRE_PEER",
            targets = {
                "asio": "/usr/include/boost/asio.hpp",
                "libev": "/usr/include/ev.h -lev",
                "libevent": "libevent_pthreads",
                "libuv": "libuv",
            },
        )

    # Debian's bazel-rules-cc does not load under Debian's Bazel, and Bazel would download the others.
    if not native.existing_rule("rules_cc"):
        native_rules_repo(name = "rules_cc", files = {"cc/defs.bzl": _CC_RULES})

    if not native.existing_rule("rules_shell"):
        native_rules_repo(name = "rules_shell", files = {
            "shell/sh_binary.bzl": ["sh_binary"],
            "shell/sh_library.bzl": ["sh_library"],
            "shell/sh_test.bzl": ["sh_test"],
        })

    if not native.existing_rule("rules_java"):
        native_rules_repo(name = "rules_java", files = {"java/defs.bzl": _JAVA_RULES})

    if not native.existing_rule("remote_coverage_tools"):
        stub_repo(name = "remote_coverage_tools", files = {"BUILD.bazel": _COVERAGE_TOOL})
