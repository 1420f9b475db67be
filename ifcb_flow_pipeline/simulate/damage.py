"""What goes wrong with a bin's files after the run: garbled, cut and missing files.

Each function takes a generator, the files and a severity (0 barely visible, 1 plain), and returns files.
"""

from dataclasses import replace

import numpy as np

from ifcb_flow_pipeline.simulate.files import BinFiles


def garble_adc(rng: np.random.Generator, files: BinFiles, severity: float) -> BinFiles:
    """Replace 1 to 25 % of the ADC lines, half by garbage and half by their first part."""
    lines = files.adc.splitlines(keepends=True)
    if not lines:
        return files
    n_bad = max(1, round(len(lines) * (0.01 + 0.24 * severity)))
    for number in rng.choice(len(lines), min(n_bad, len(lines)), replace=False).tolist():
        lines[number] = _garbage(rng) if rng.random() < 0.5 else _first_part(rng, lines[number])
    return replace(files, adc=b"".join(lines))


def truncate_adc(rng: np.random.Generator, files: BinFiles, severity: float) -> BinFiles:
    """Cut the ADC within its last line (severity 0) up to within the line at 60 % of the file (1)."""
    kept = files.adc[: round(len(files.adc) * (1 - 0.4 * severity))]
    last_line = kept.rstrip(b"\n").rfind(b"\n") + 1
    return replace(files, adc=kept[:last_line] + _first_part(rng, kept[last_line:]).rstrip(b"\n"))


def drop_hdr(rng: np.random.Generator, files: BinFiles, severity: float) -> BinFiles:  # noqa: ARG001 - nothing to draw
    """Leave the header away."""
    return replace(files, hdr=None)


def _garbage(rng: np.random.Generator) -> bytes:
    # Printable and other bytes, but no line end: the line count stays.
    return bytes(byte for byte in rng.bytes(120) if byte not in b"\r\n") + b"\n"


def _first_part(rng: np.random.Generator, line: bytes) -> bytes:
    """Return the line up to somewhere behind its third and before its last field."""
    commas = [position for position, byte in enumerate(line) if byte == ord(",")]
    if len(commas) < 5:
        return line[: len(line) // 2]
    return line[: commas[int(rng.integers(3, len(commas) - 1))]] + b"\n"
