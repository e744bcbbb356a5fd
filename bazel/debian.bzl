"""Repositories made of Debian's packages, under the names that Bazel's central registry uses.

Bazel 8 and newer never read this file: there MODULE.bazel gets the same labels from the registry.
"""

def _pkg_config(ctx, pkg_config, module):
    result = ctx.execute([pkg_config, "--libs", module])
    if result.return_code != 0:
        fail(_cure(ctx.name, "pkg-config knows no '%s'" % module, ctx.attr.apt))
    return [flag for flag in result.stdout.strip().split(" ") if flag]

def _cure(repo, problem, apt):
    return "\n\n@%s: %s. This cures it:\n\n    sudo apt-get install -y %s\n" % (
        repo,
        problem,
        " ".join(apt),
    )

def _pkgconfig_repo_impl(ctx):
    pkg_config = ctx.which("pkg-config")
    if not pkg_config:
        fail(_cure(ctx.name, "pkg-config is not installed", ["pkg-config"] + ctx.attr.apt))

    packages = {}
    for target, module in ctx.attr.targets.items():
        package, _, name = target.rpartition(":")

        # "-lfoo" stands for a library for which Debian ships no .pc file.
        flags = module.split(" ") if module.startswith("-l") else _pkg_config(ctx, pkg_config, module)

        # The headers are in /usr/include, where the compiler looks by itself.
        packages.setdefault(package, []).append(
            "cc_library(name = %r, linkopts = %r)" % (name, flags),
        )
    for package, rules in packages.items():
        ctx.file(package + "/BUILD.bazel" if package else "BUILD.bazel", "\n".join(
            ['package(default_visibility = ["//visibility:public"])'] + rules,
        ) + "\n")

pkgconfig_repo = repository_rule(
    implementation = _pkgconfig_repo_impl,
    doc = "cc_library targets for libraries that pkg-config knows.",
    attrs = {
        "apt": attr.string_list(doc = "the packages that an error message tells to install"),
        "targets": attr.string_dict(doc = "'package:name' of a target to its pkg-config module"),
    },
    configure = True,
    environ = ["PATH", "PKG_CONFIG_PATH"],
    local = True,  # looked at again when Bazel starts, so that what was installed since is found
)

def _optional_flags(ctx, pkg_config, library):
    # The linker's flags, or None where the library is not installed.
    if library.startswith("/"):
        # "HEADER FLAGS..." stands for a library for which Debian ships no .pc file.
        header, _, flags = library.partition(" ")
        if not ctx.path(header).exists:
            return None
        return [flag for flag in flags.split(" ") if flag]
    if not pkg_config or ctx.execute([pkg_config, "--exists", library]).return_code != 0:
        return None
    return _pkg_config(ctx, pkg_config, library)

def _optional_repo_impl(ctx):
    rules = [
        'package(default_visibility = ["//visibility:public"])',
        # Bazel 4.2 brings no @platforms//:incompatible: a constraint that no platform has.
        'constraint_setting(name = "missing")',
        'constraint_value(name = "incompatible", constraint_setting = ":missing")',
    ]
    pkg_config = ctx.which("pkg-config")
    for name, library in ctx.attr.targets.items():
        flags = _optional_flags(ctx, pkg_config, library)
        define = "%s_%s" % (ctx.attr.define_prefix, name.upper())
        if flags == None:
            rules.append("cc_library(name = %r)" % name)
            incompatible = [":incompatible"]
        else:
            rules.append("cc_library(name = %r, defines = [%r], linkopts = %r)" % (name, define, flags))
            incompatible = []
        rules.append("cc_library(name = %r, target_compatible_with = %r, deps = [%r])" % (
            name + "_required",
            incompatible,
            ":" + name,
        ))
    ctx.file("BUILD.bazel", "\n".join(rules) + "\n")

optional_repo = repository_rule(
    implementation = _optional_repo_impl,
    doc = """Libraries that may be missing, with two targets for each.

    NAME is empty where the library is missing, and defines PREFIX_NAME where it is not. What
    depends on NAME_required is left out of //... where the library is missing.
    """,
    attrs = {
        "define_prefix": attr.string(mandatory = True),
        "targets": attr.string_dict(
            doc = "name of a target to its pkg-config module, or to 'HEADER LINKER_FLAGS'",
        ),
    },
    configure = True,
    environ = ["PATH", "PKG_CONFIG_PATH"],
    local = True,
)

def _stub_repo_impl(ctx):
    for path, content in ctx.attr.files.items():
        ctx.file(path, content)

stub_repo = repository_rule(
    implementation = _stub_repo_impl,
    doc = "A repository with the given files.",
    attrs = {"files": attr.string_dict(doc = "path to content")},
)

def native_rules_repo(name, files):
    """Defines a rules_* repository whose .bzl files hand out Bazel's own rules.

    Args:
      name: of the repository.
      files: path of a .bzl file to the rules that it exports.
    """
    content = {}
    for path, rules in files.items():
        content[path.rpartition("/")[0] + "/BUILD.bazel"] = ""
        content[path] = "".join(["%s = native.%s\n" % (rule, rule) for rule in rules])
    stub_repo(name = name, files = content)
