"""Images in a real browser: from the cloud and the gallery to an image and back, and labels by key."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from ifcb_flow_pipeline_tests.app.reviewed import WORST
from ifcb_flow_pipeline_tests.app.served import Visit, visiting

pytestmark = pytest.mark.browser

CHART = "[data-testid=stVegaLiteChart]"


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Visit]:
    with visiting(browser, address, "Ada") as visit:
        yield visit
        visit.expect_quiet()


def test_a_click_in_the_gallery_opens_an_image_keys_label_it_and_back_shows_the_gallery_as_it_was(visit: Visit):
    page = visit.page
    visit.open(f"gallery?bin={WORST}&order=time&every=1&page=2")
    cells = page.locator(f"{CHART} path[aria-label^='image: ']")
    expect(cells).to_have_count(48)
    cells.nth(3).click()
    expect(page).to_have_url(re.compile(rf"image\?.*pid={WORST}&roi=77"))
    expect(page.get_by_role("heading", name="Image 77")).to_be_visible()
    visit.expect_still()
    page.keyboard.press("0")
    expect(page.get_by_role("heading", name="Image 78")).to_be_visible()
    visit.expect_still()
    page.keyboard.press("z")
    expect(page.get_by_role("heading", name="Image 77")).to_be_visible()
    visit.expect_still()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="Image 78")).to_be_visible()
    visit.expect_still()
    page.get_by_role("link", name="Gallery").last.click()
    expect(page.get_by_text("49 to 96")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Image 78")).to_be_visible()


def test_a_click_on_the_cloud_shows_the_image_there_and_one_on_an_image_its_place(visit: Visit):
    page = visit.page
    visit.open(f"bin?bin={WORST}")
    cloud = page.locator(f"{CHART}[aria-label^='Point cloud']")
    box = cloud.locator("canvas").bounding_box()
    assert box is not None
    # Nowhere near a mark in particular: the nearest is taken.
    page.mouse.click(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.6)
    expect(page).to_have_url(re.compile(r"roi=\d+"))
    expect(page.get_by_text(re.compile(r"^Image \d+: "))).to_be_visible()
    visit.expect_still()
    cell = page.locator(f"{CHART} path[aria-label^='image: ']").first
    number = re.findall(r"image: (\d+)", cell.get_attribute("aria-label") or "")[0]
    cell.click()
    expect(page).to_have_url(re.compile(f"roi={number}"))
    expect(page.get_by_text(re.compile(f"^Image {number}: "))).to_be_visible()
    page.get_by_role("link", name="Open the image").click()
    expect(page.get_by_role("heading", name=f"Image {number}")).to_be_visible()
    page.get_by_role("link", name="In its bin").click()
    expect(page.get_by_text(re.compile(f"^Image {number}: "))).to_be_visible()
