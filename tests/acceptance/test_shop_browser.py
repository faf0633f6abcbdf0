"""The shop in a real browser: an order placed by hand arrives on the pages read from each store.

Needs Debian's chromium (`apt-get install chromium`). In CI it is installed and its absence fails; elsewhere it is
said, and these tests are skipped. SHOP_SCREENSHOTS=folder keeps a picture of every page, wide and narrow.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, TimeoutError, expect, sync_playwright

from devstack import Stack
from tests.acceptance.shopfront import Shop, Visitor, until
from tests.waiting import PATIENCE

QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")  # looked for before any server is started
def chromium() -> str:
    found = shutil.which("chromium")
    if found is None:
        message = "the shop was not tried in a browser: install Debian's package chromium (apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(scope="module")  # as long as it is open, an event loop runs on this thread and nobody can start another
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(params=[(1200, 800), (390, 844)], ids=["wide", "narrow"])
def page(request: pytest.FixtureRequest, browser: Browser, shop: Shop) -> Iterator[Page]:
    """A tab, as on a desk and as on a phone. Nothing in the shop may write to its console."""
    width, height = request.param
    context = browser.new_context(base_url=shop.address, viewport={"width": width, "height": height})
    context.set_default_timeout(PATIENCE * 1000)
    expect.set_options(timeout=PATIENCE * 1000)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("requestfailed", lambda failed: problems.append(f"{failed.url}: {failed.failure}"))
    yield page
    context.close()
    assert not [text for text in problems if "ERR_ABORTED" not in text], "a refresh aborts what it replaces, no more"


def look(page: Page, name: str) -> None:
    """The page fits its window; keep a picture if somebody wants to see it.

    Asked until it holds: a page that is just being replaced (a form was sent, a basket refreshes) has no root yet.
    """
    try:
        page.wait_for_function("document.body && document.documentElement.scrollWidth <= innerWidth")
    except TimeoutError as error:
        raise AssertionError(f"{name} scrolls sideways") from error
    if folder := os.environ.get("SHOP_SCREENSHOTS"):
        width = (page.viewport_size or {"width": 0})["width"]
        page.screenshot(path=Path(folder) / f"{width}-{name}.png")


def choose(page: Page, product: str, household: int, quantity: int) -> None:
    """From the front page to a filled-in order form, by what a person reads on the page."""
    page.goto("/")
    page.get_by_role("searchbox", name="Search products").fill(product)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("checkbox", name=product).wait_for()
    look(page, "search")
    page.get_by_role("checkbox", name=product).check()
    page.get_by_role("button", name="Order what is ticked").click()
    page.get_by_role("spinbutton", name=product).fill(str(quantity))
    page.get_by_label("Your household's number").fill(str(household))
    look(page, "order")


def test_an_order_arrives_on_the_pages_read_from_each_store(page: Page, request: pytest.FixtureRequest) -> None:
    narrow = request.node.callspec.id == "narrow"
    product, household = ("Tulips", 302) if narrow else ("Aspirin", 301)
    choose(page, product, household, 3)
    page.get_by_role("button", name="Pay").click()

    page.wait_for_url(re.compile(r"/baskets/\d+"))
    expect(page.get_by_role("row", name=product)).to_contain_text("3")  # Postgres; it came by refreshing itself
    expect(page.get_by_role("heading", level=1)).to_contain_text("Order")
    look(page, "basket")

    page.get_by_role("link", name=f"household {household}").click()
    expect(page.get_by_role("table")).to_contain_text("1")  # Postgres
    until(lambda: page.reload() and page.get_by_text("Baskets").count(), "the card is there")  # Redis
    look(page, "household")

    page.get_by_role("link", name="Best sellers").click()
    department = "FLORAL" if narrow else "DRUG GM"
    page.get_by_role("navigation", name="Departments").get_by_role("link", name=department).click()
    expect(page.get_by_role("row", name=product)).to_contain_text("3")  # Redis, names from OpenSearch
    look(page, "best")

    page.goto(f"/?q={product}")
    until(lambda: page.reload() and page.get_by_text("3 sold").count(), "the search knows what was sold")  # OpenSearch


def test_a_page_that_is_late_says_so_and_then_shows_the_order(
    page: Page, shop: Shop, request: pytest.FixtureRequest
) -> None:
    """The search's worker is stopped on purpose: its page must not look as if nothing had been ordered."""
    narrow = request.node.callspec.id == "narrow"
    product, household = ("Chicken", 307) if narrow else ("Beef", 306)
    shop.workers["search"].send_signal(signal.SIGSTOP)
    try:
        choose(page, product, household, 4)
        page.get_by_role("button", name="Pay").click()
        page.wait_for_url(re.compile(r"/baskets/\d+"))
        expect(page.get_by_role("row", name=product)).to_contain_text("4")
        page.goto(f"/?q={product}")
        expect(page.get_by_role("status").first).to_contain_text("What you just ordered is not counted here yet")
        look(page, "late")
    finally:
        shop.workers["search"].send_signal(signal.SIGCONT)
    until(lambda: page.reload() and page.get_by_text("4 sold").count(), "the search counts it")
    until(lambda: page.reload() and page.get_by_text("Up to date with every order").count(), "and says so")
    page.get_by_role("link", name=re.compile(f"About {product}")).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(product)
    look(page, "product")


def test_try_again_after_an_outage_orders_once(
    page: Page, shop: Shop, stack: Stack, request: pytest.FixtureRequest
) -> None:
    narrow = request.node.callspec.id == "narrow"
    product, number, household = ("Salad", 15, 304) if narrow else ("Strawberries", 13, 303)
    choose(page, product, household, 1)
    Visitor(shop.address).order(305, 11)  # the producer connects with its first append
    stack.pause("kafka")
    try:
        page.get_by_role("button", name="Pay").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("We do not know yet")
        look(page, "unknown")
        with page.expect_response("**/orders") as answer:
            page.reload()  # what people do; the browser sends the form again
        assert answer.value.status == 503
    finally:
        stack.resume("kafka")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_url(re.compile(r"/baskets/\d+"))
    expect(page.get_by_role("row", name=product)).to_contain_text("1")
    until(lambda: shop.held(household, number).sold == (1, 1, 1), "all three stores counted it")
    assert shop.held(household, number) == (1, 1, 1, (1, 1, 1))


def test_the_shop_can_be_used_by_keyboard_and_names_its_controls(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input:not([type=hidden]), button')]"
        ".filter(e => !(e.labels && e.labels.length) && !e.textContent.trim()).length"
    )
    assert unnamed == 0
    assert page.locator("h1").count() == 1
    assert page.locator("html").get_attribute("lang") == "en"
