"""What Python does while a file is read, as its own audit events tell: code run, names imported, files written."""

import codecs
import os
import sys
from contextlib import contextmanager

_ACTS = {"compile", "exec", "import", "pickle.find_class", "marshal.loads", "code.__new__", "function.__new__"}
_FAMILIES = ("os.", "subprocess.", "shutil.", "socket.", "ctypes.", "tempfile.", "urllib.", "webbrowser.")
_HARMLESS = {"os.listdir", "os.scandir", "os.walk", "os.fwalk"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_logs = []


def _hook(event, args):
    if not _logs:
        return
    written = event == "open" and isinstance(args[2], int) and args[2] & _WRITING
    if written or event in _ACTS or (event.startswith(_FAMILIES) and event not in _HARMLESS):
        _logs[-1].append((event, str(args)[:200]))


sys.addaudithook(_hook)  # a hook cannot be removed: it is idle outside `watch`


@contextmanager
def watch():
    """Collect what is done inside the block, beyond reading files and computing: ``(event, arguments)``."""
    for codec in ("raw-unicode-escape", "unicode-escape", "latin-1", "cp437"):  # loaded at first use
        codecs.lookup(codec)
    log = []
    _logs.append(log)
    try:
        yield log
    finally:
        _logs.pop()
