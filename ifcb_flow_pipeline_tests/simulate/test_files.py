"""The files' dialects, read with plain csv and by eye."""

import csv
import re

import numpy as np
import pytest

from ifcb_flow_pipeline.simulate import files_of, simulate_bin

from .measures import V1_PID, V2_PID, adc_table, header_values


@pytest.mark.parametrize("pid", [V1_PID, V2_PID])
def test_the_adc_gives_back_every_column_as_simulated(pid: str) -> None:
    simulated = simulate_bin(pid, seed=1)
    table = adc_table(files_of(simulated).adc, simulated.schema)
    for name, values in simulated.columns.items():
        np.testing.assert_array_equal(table[name], values)


def test_v2_lines_have_24_cells_no_header_and_unix_line_ends() -> None:
    content = files_of(simulate_bin(V2_PID, seed=1)).adc
    assert {len(row) for row in csv.reader(content.decode().splitlines())} == {24}
    assert content.startswith(b"1,0.0491919,")
    assert content.endswith(b"\n")
    assert b"\r" not in content


def test_v1_lines_end_in_a_comma_and_numbers_have_no_leading_zero() -> None:
    content = files_of(simulate_bin(V1_PID, seed=1)).adc.decode()
    rows = list(csv.reader(content.splitlines()))
    assert {len(row) for row in rows} == {16}
    assert {row[-1] for row in rows} == {""}
    assert re.search(r",-?0\.", content) is None
    assert re.search(r",-?\.\d", content)
    assert re.search(r",-11,-11,0,0,", content)


def test_a_v2_header_names_the_values_of_its_rows() -> None:
    simulated = simulate_bin(V2_PID, seed=2)
    header = header_values(files_of(simulated).hdr)
    assert header["SoftwareVersion"] == "2.3.0.0"
    assert int(header["triggerCount"]) == simulated.columns["trigger"][-1]
    assert int(header["roiCount"]) == simulated.has_image.sum()
    assert float(header["inhibitTime"]) == simulated.columns["inhibit_time"][-1]
    assert float(header["runTime"]) == pytest.approx(1200.85)
    assert len(header["ADCFileFormat"].split(", ")) == 24
    assert header["imagerID"] == "134"


def test_a_v1_header_is_a_quoted_table_with_one_line_of_values() -> None:
    rows = list(csv.reader(files_of(simulate_bin(V1_PID)).hdr.decode().splitlines()))
    assert rows[2][0].split()[:2] == ["Temp", "Humidity"]
    assert [float(cell) for cell in rows[3][:2]] == [23.0, 30.0]
    assert len(rows[3]) == len(rows[2][0].split())


@pytest.mark.parametrize(("pid", "offset"), [(V1_PID, 1), (V2_PID, 0)])
def test_images_lie_where_the_rows_say_dark_in_the_middle_and_even_grey_on_the_left(pid: str, offset: int) -> None:
    simulated = simulate_bin(pid, seed=3, mean_triggers=60)
    content = files_of(simulated, with_images=True).roi
    columns = simulated.columns
    rows = np.flatnonzero(simulated.has_image)
    last = rows[-1]
    assert columns["start_byte"][rows[0]] == offset
    end = columns["start_byte"][last] + columns["roi_width"][last] * columns["roi_height"][last]
    assert len(content) == end
    images = [
        np.frombuffer(content, np.uint8, width * height, start).reshape(height, width)
        for width, height, start in zip(
            *(columns[name][rows] for name in ("roi_width", "roi_height", "start_byte")), strict=True
        )
    ]
    # Rows cut at a wrong place would put the dark particles on the edges.
    left = np.array([image[:, :3].mean() for image in images])
    assert left.std() < 5
    assert np.mean([image[:, 10:-10].min() for image in images]) < left.mean() - 60


def test_without_images_there_is_no_roi_file() -> None:
    assert files_of(simulate_bin(V2_PID)).roi is None
