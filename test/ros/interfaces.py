"""Message packages without a wheel, by the rosidl generators of the ROS wheels: one extension module each."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import gettempdir

import numpy as np
from filelock import FileLock

from lemore_core.common.files import require_own_folder
from test.message_definitions import DEFINITIONS

USED = ('std_msgs', 'builtin_interfaces')  # packages whose messages these are made of
SUPPORTS = ('rosidl_typesupport_fastrtps_c', 'rosidl_typesupport_introspection_c')
PREFIX = Path(sys.prefix)
# what CMake makes of its templates; symbols are visible anyway
VISIBILITY = {
    'rosidl_generator_c': 'ROSIDL_GENERATOR_C',
    'rosidl_typesupport_fastrtps_c': 'ROSIDL_TYPESUPPORT_FASTRTPS_C',
    'rosidl_typesupport_introspection_c': 'ROSIDL_TYPESUPPORT_INTROSPECTION_C',
}
INIT = """import ctypes, pathlib
# loaded by their paths they are found by their names
for library in pathlib.Path(__file__).parent.glob('lib*.so'):
    ctypes.CDLL(str(library))
"""


def why_not() -> str:
    """Return why packages cannot be made here, or ''."""
    if shutil.which('gcc') is None or shutil.which('g++') is None:
        return 'there is no C and C++ compiler'
    if not (PREFIX / 'share' / 'rosidl_generator_py').is_dir():
        return 'the rosidl generators are not installed'
    return ''


def make_importable() -> Path:
    """Make the missing packages, once a machine; return their folder, for ``PYTHONPATH``."""
    generators = [version(name) for name in ('ros-rosidl-generator-py', 'numpy')]
    versions = json.dumps([DEFINITIONS, str(PREFIX), sys.version, os.getuid(), generators])
    source = Path(__file__).read_bytes() + versions.encode()
    folder = Path(gettempdir(), f'lemore_interfaces_{hashlib.sha256(source).hexdigest()[:16]}')
    folder.mkdir(mode=0o700, exist_ok=True)
    require_own_folder(folder)
    with FileLock(folder / 'lock'):
        for package, messages in DEFINITIONS.items():
            if find_spec(package) is None and not (folder / 'python' / package).is_dir():
                build = folder / 'build' / package
                shutil.rmtree(build, ignore_errors=True)
                _make(build, package, messages)
                (folder / 'python').mkdir(exist_ok=True)
                (build / 'python' / package).rename(folder / 'python' / package)
                shutil.rmtree(build)
    return folder / 'python'


def _make(folder: Path, package: str, messages: Mapping[str, str]) -> None:
    # imported late: a ROS installation need not have them
    from rosidl_adapter.msg import convert_msg_to_idl
    from rosidl_generator_c import generate_c
    from rosidl_generator_py import generate_py
    from rosidl_generator_type_description import generate_type_hash
    from rosidl_typesupport_c import generate_c as generate_dispatch
    from rosidl_typesupport_fastrtps_c import generate_typesupport_fastrtps_c
    from rosidl_typesupport_introspection_c import generate_c as generate_introspection

    sources, c_code, python = (folder / name for name in ('idl', 'c', 'python'))
    (sources / 'msg').mkdir(parents=True)

    def arguments(generator: str, output: Path) -> str:
        values = {
            'package_name': package,
            'output_dir': str(output),
            'template_dir': str(PREFIX / 'share' / generator / 'resource'),
            'idl_tuples': [f'{sources}:msg/{name}.idl' for name in messages],
            'target_dependencies': [],
            'include_paths': [f'{used}:{PREFIX}/share/{used}' for used in USED],
            'type_description_tuples': [
                f'msg/{name}.idl:{sources}/msg/{name}.json' for name in messages
            ],
            'ros_interface_dependencies': [f'{used}:{PREFIX}/share/{used}' for used in USED],
        }
        path = folder / f'{generator}.json'
        path.write_text(json.dumps(values))
        return str(path)

    with Path(os.devnull).open('w') as nowhere, redirect_stdout(nowhere):
        for name, text in messages.items():
            (sources / 'msg' / f'{name}.msg').write_text(text)
            convert_msg_to_idl(sources, package, Path('msg', f'{name}.msg'), sources / 'msg')
    generate_type_hash(arguments('rosidl_generator_type_description', sources))
    own = c_code / package
    generate_c(arguments('rosidl_generator_c', own))
    generate_typesupport_fastrtps_c(arguments('rosidl_typesupport_fastrtps_c', own))
    generate_dispatch(arguments('rosidl_typesupport_c', own), list(SUPPORTS))
    # a file of it is called as one of the first generator's
    apart = folder / 'introspection' / package
    generate_introspection(arguments('rosidl_typesupport_introspection_c', apart))
    generate_py(arguments('rosidl_generator_py', python / package), ['rosidl_typesupport_c'])
    for generator, macro in VISIBILITY.items():
        names = [f'{macro}_{kind}_{package}' for kind in ('PUBLIC', 'EXPORT', 'IMPORT')]
        text = ''.join(f'#define {name}\n' for name in names)
        (own / 'msg' / f'{generator}__visibility_control.h').write_text(text)
    _compile(folder, package)
    (python / package / '__init__.py').write_text(INIT)


def _compile(folder: Path, package: str) -> None:
    module = folder / 'python' / package / f'{package}_s__rosidl_typesupport_c.so'
    include = [folder / 'c', folder / 'introspection', np.get_include()]
    headers = PREFIX / 'include'
    include += [sysconfig.get_paths()['include'], headers, *headers.iterdir()]
    parts = ('rosidl_generator_c', 'rosidl_generator_py', 'rosidl_typesupport_c', *SUPPORTS)
    libraries = [f'{used}__{part}' for used in USED for part in parts]
    libraries += ['rosidl_runtime_c', 'rosidl_typesupport_c', *SUPPORTS]
    libraries += ['rosidl_typesupport_fastrtps_cpp', 'fastcdr', 'rcutils', 'rmw', 'stdc++']
    sources = [path for path in folder.rglob('*') if path.suffix in {'.c', '.cpp'}]
    shared = ['gcc', '-shared', '-fPIC', '-O0', '-w']
    command = [
        *shared,
        f'-Wl,-soname,{module.name}',
        *(f'-I{path}' for path in include),
        *map(str, sources),
        f'-L{PREFIX}/lib',
        *(f'-l{name}' for name in libraries),
    ]
    subprocess.run([*command, '-o', str(module)], check=True, capture_output=True, text=True)
    for support in SUPPORTS:
        name = f'lib{package}__{support}.so'
        command = [*shared, f'-Wl,-soname,{name}', '-Wl,-rpath,$ORIGIN', '-Wl,--no-as-needed']
        command += [module.name, '-o', name]
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=module.parent)
