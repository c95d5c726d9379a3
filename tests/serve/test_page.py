"""The web page in a real browser: speak, hear, correct, clone, cancel, come back. Slow."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glmtts.serve.app import PAGE
from tests.serve.live import Live, live, until_idle
from tests.tiny import buzz

CHROMIUM = Path("/usr/bin/chromium")
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def test_the_page_needs_nothing_from_elsewhere() -> None:
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "https://" not in text.replace("http://www.w3.org", ""), path
        assert "eval(" not in text
        assert ".innerHTML" not in text
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert " style=" not in html
    assert "onclick" not in html


def test_every_word_of_the_page_is_there_in_both_languages() -> None:
    import re

    source = (PAGE / "words.js").read_text(encoding="utf-8")
    chinese, english = source.split("const EN")
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    script = (PAGE / "main.js").read_text(encoding="utf-8")
    for name in re.findall(r'data-t="(\w+)"', html):
        assert re.search(rf"\b{name}:", chinese), name
    for name in re.findall(r'\bt\("(\w+)"\)', script):
        assert re.search(rf"\b{name}:", chinese), name
        assert re.search(rf"\b{name}:", english) or f'data-t="{name}"' in html, name


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("needs chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--no-sandbox", "--use-fake-device-for-media-stream",
                  "--use-fake-ui-for-media-stream"],
        )  # fmt: skip
        yield browser
        browser.close()


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def page(request: pytest.FixtureRequest, browser: Any, server: Live) -> Iterator[Any]:
    server.humming.pause_s = 0.0
    width, height = request.param
    context = browser.new_context(viewport={"width": width, "height": height}, locale="en-US")
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.goto(server.url)
    page.wait_for_selector("#voice option[value=tom]", state="attached")
    page.name = request.node.callspec.id
    yield page
    context.close()
    assert [fault for fault in faults if "404" not in fault and "400" not in fault] == []


def eventually(page: Any, expression: str, seconds: float = 20.0) -> None:
    """Wait until it is true, without eval in the page, which its policy forbids."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        time.sleep(0.02)


def shot(page: Any, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{page.name}-{name}.png", full_page=True)


@pytest.mark.slow
def test_speech_is_heard_before_it_has_all_been_made(page: Any, server: Live) -> None:
    server.humming.pause_s = 0.35
    page.fill("#text", "This is one sentence. " * 6)
    page.click("#speak")
    eventually(page, "document.getElementById('audio').currentTime > 0.2")
    assert page.is_disabled("#speak")  # it is still being made
    page.wait_for_selector("#facts div")
    assert "stop" in page.inner_text("#facts")
    assert page.locator("#words li").count() == 24
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "speech.wav"
    assert Path(download.value.path()).stat().st_size == 44 + 6 * 12_000
    eventually(page, "document.getElementById('audio').src.startsWith('blob:')")
    shot(page, "spoken")


@pytest.mark.slow
def test_a_polyphone_is_corrected_by_a_click(page: Any, server: Live) -> None:
    page.fill("#text", "银行行长长得很高。")
    page.click("#read")
    page.wait_for_selector("#readings button")
    button = page.locator("#readings button", has_text="长").nth(1)
    assert "zhang3" in button.inner_text()
    button.click()
    shot(page, "choose")
    page.locator("#choices button", has_text="chang2").click()
    eventually(page, "document.getElementById('text').value === '银行行长长[chang2]得很高。'")
    page.wait_for_selector("#readings .given")
    server.humming.calls.clear()
    page.click("#speak")
    page.wait_for_selector("#facts div")
    assert server.humming.calls[0][0] == "银行行长长[chang2]得很高。"
    shot(page, "corrected")


@pytest.mark.slow
def test_a_voice_is_cloned_from_a_clip_and_spoken_with(
    page: Any, server: Live, tmp_path: Path
) -> None:
    clip, name = tmp_path / "clip.wav", f"anna-{page.name}"
    buzz(5.0).save(clip)
    page.set_input_files("#clip", str(clip))
    page.fill("#name", name)
    page.fill("#consent", "I, Anna Smith, agree.")
    page.click("#clone button[type=submit]")
    page.wait_for_selector(f"#voice option[value='{name}']", state="attached")
    assert page.input_value("#voice") == name
    page.fill("#text", "A sentence in my voice.")
    server.humming.calls.clear()
    page.click("#speak")
    page.wait_for_selector("#facts div")
    assert server.humming.calls[0][1].name == name
    assert f'"voice":"{name}"' in page.inner_text("#snippet")
    page.click("#forget")
    page.wait_for_selector(f"#voice option[value='{name}']", state="detached")


@pytest.mark.slow
def test_a_voice_is_recorded_with_the_microphone(page: Any) -> None:
    page.click("#record")
    eventually(page, "document.getElementById('record').textContent === 'Stop recording'")
    time.sleep(1.0)
    page.click("#record")
    eventually(page, "/^[0-9.]+ s$/.test(document.getElementById('recorded').textContent)")


@pytest.mark.slow
def test_cancelling_stops_the_server_too(page: Any, server: Live) -> None:
    server.humming.pause_s = 30.0
    page.fill("#text", "This will never be heard.")
    page.click("#speak")
    eventually(page, "!document.getElementById('cancel').disabled")
    deadline = time.monotonic() + 5
    while not server.service.engine.running and time.monotonic() < deadline:
        time.sleep(0.01)
    page.click("#cancel")
    eventually(page, "document.getElementById('status').textContent === 'Cancelled.'")
    assert until_idle(server) < 1.0


@pytest.mark.slow
def test_history_and_language_survive_a_reload(page: Any, server: Live) -> None:
    page.fill("#text", "Remember this sentence.")
    page.click("#speak")
    page.wait_for_selector("#history li")
    page.click("#language")
    assert page.inner_text("#speak") == "朗读"
    page.reload()
    assert page.inner_text("#speak") == "朗读"
    assert page.get_attribute("html", "lang") == "zh-CN"
    page.fill("#text", "")
    page.locator("#history button").first.click()
    assert page.input_value("#text") == "Remember this sentence."
    shot(page, "chinese")


@pytest.mark.slow
def test_errors_are_shown_and_read_out(page: Any) -> None:
    page.fill("#text", "长[zhang9]")
    page.click("#speak")
    eventually(page, "document.getElementById('error').textContent.includes('zhang9')")
    assert page.get_attribute("#error", "role") == "alert"


@pytest.mark.slow
def test_everything_can_be_reached_by_keyboard(page: Any) -> None:
    page.fill("#text", "银行。")
    page.wait_for_selector("#readings button")
    page.focus("body")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    for name in ("language", "text", "voice", "speed", "seed", "pace", "speak", "read", "unit",
                 "clip", "record", "name", "transcript", "consent", "forget", "clear"):  # fmt: skip
        assert name in reached, name
    page.focus("#text")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#facts div")


@pytest.mark.slow
def test_axe_finds_no_serious_fault(page: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.fill("#text", "银行行长。")
    page.click("#speak")
    page.wait_for_selector("#facts div")
    page.wait_for_selector("#readings button")
    found = axe.Axe().run(page).response["violations"]
    serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in serious] == []


@pytest.mark.slow
def test_nothing_is_wider_than_the_screen(page: Any) -> None:
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0
