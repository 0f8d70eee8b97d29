"""Reports in headless Chromium: pictures, every control, phones, dark colours and print; and no error in the console."""

import base64
import shutil
import time

import numpy as np
import pytest
from report_pages import MLP, SAMPLES, hostile_flow, results

import ntkflow

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
if CHROMIUM is None or DRIVER is None:
    pytest.skip("Chromium and its driver are not installed", allow_module_level=True)

PHONE, DESKTOP = (360, 740), (1000, 900)
SEEN = ("flow of 8", "flow of 200", "mean", "block", "one sample", "vanishing", "dead", "diagnosis of blocks", "recipe", "comparison", "trained", "trained to order 1/n")  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    made = results() | {"hostile": hostile_flow()}
    paths = {name: folder / f"{name.replace('/', '')}.html" for name in made}
    for name, result in made.items():
        result.report(paths[name])
    return paths


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    downloads = tmp_path_factory.mktemp("downloads")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.downloads = downloads
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, files):
    """Opens a report: page("flow of 8", PHONE, dark=True). At the end the console must hold nothing."""

    def opened(name, size=DESKTOP, dark=False):
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": [scheme]})
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(files[name].as_uri())
        assert wait(lambda: all(p.find_elements(By.CSS_SELECTOR, "svg text") for p in pictures(browser)))
        return browser

    browser.get_log("browser")
    yield opened
    assert browser.get_log("browser") == []


def wait(condition, seconds=5.0):
    """Whether something comes true within some time."""
    end = time.monotonic() + seconds
    while not (outcome := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return outcome


def pictures(browser):
    return browser.find_elements(By.CSS_SELECTOR, ".picture")


def ticks(picture):
    return [text.text for text in picture.find_elements(By.CSS_SELECTOR, "svg text")]


def tip(picture):
    return picture.find_element(By.CSS_SELECTOR, ".tip").text


def button(picture, text):
    return next(b for b in picture.find_elements(By.CSS_SELECTOR, "button") if b.text == text)


def to_middle(browser, element):
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    return ActionChains(browser, duration=20).move_to_element(element)


@pytest.mark.parametrize("name", SEEN)
def test_pictures_are_drawn(name, page):
    browser = page(name)
    assert pictures(browser)
    for picture in pictures(browser):
        assert picture.find_elements(By.CSS_SELECTOR, "svg circle, svg image")
        assert all("NaN" not in text and "undefined" not in text for text in ticks(picture))
    assert "NaN" not in browser.execute_script("return document.querySelector('main').innerHTML")


@pytest.mark.parametrize("name", SEEN)
def test_every_control_can_be_used(name, page):
    """Each button pressed, each option chosen, each box ticked twice, each slider moved, each table unfolded."""
    browser = page(name)
    for control in browser.find_elements(By.CSS_SELECTOR, "button, input[type=checkbox], summary"):
        if control.is_enabled():
            browser.execute_script("arguments[0].click(); arguments[0].click()", control)
    for element in browser.find_elements(By.CSS_SELECTOR, "select"):
        browser.execute_script(
            "const s = arguments[0]; for (const o of [...s.options].slice(0, 12)) { s.value = o.value; s.dispatchEvent(new Event('change')); }",
            element,
        )
    for slider in browser.find_elements(By.CSS_SELECTOR, "input[type=range]"):
        browser.execute_script(
            "const s = arguments[0]; for (let k = 0; k <= s.max; k++) { s.value = k; s.dispatchEvent(new Event('input')); }",
            slider,
        )


def zoom_and_back(browser, picture):
    svg = picture.find_element(By.CSS_SELECTOR, "svg")

    def labels():
        return [text.text for text in svg.find_elements(By.CSS_SELECTOR, "text")]

    whole = labels()
    to_middle(browser, svg).click_and_hold().move_by_offset(90, 60).release().perform()
    assert wait(lambda: labels() != whole)
    button(picture, "Show all").click()
    assert wait(lambda: labels() == whole)
    button(picture, "Zoom in").click()
    assert wait(lambda: labels() != whole)
    button(picture, "Zoom out").click()
    assert wait(lambda: labels() == whole)
    button(picture, "Zoom in").click()
    to_middle(browser, svg).double_click().perform()
    assert wait(lambda: labels() == whole)


def test_zoom_by_dragging_and_by_buttons(page):
    browser = page("flow of 8")
    for number in (0, 2):  # lines; a heat map
        zoom_and_back(browser, pictures(browser)[number])


def test_hover_tells_values_and_both_errors(page):
    browser = page("flow of 8")
    mean, _, pairs = pictures(browser)
    to_middle(browser, mean.find_element(By.CSS_SELECTOR, "circle:nth-of-type(3)")).perform()
    assert "mean over seeds\nlayer 3: " in tip(mean) and tip(mean).count("± ") == 2
    to_middle(browser, pairs.find_element(By.CSS_SELECTOR, "svg image")).perform()
    words = pairs.find_element(By.CSS_SELECTOR, ".tip").text
    assert words.startswith("α ") and "by the integration" in words and "by cutting at 1/n" in words


def test_hover_tells_the_numbers_of_the_flow(page):
    """In the middle of a heat map of one pair of samples stands that pair."""
    s = ntkflow.flow(MLP, SAMPLES[:8])[4]
    browser = page("flow of 8")
    picture = pictures(browser)[2]
    image = picture.find_element(By.CSS_SELECTOR, "svg image")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", image)
    cell = image.size["width"] / 8
    ActionChains(browser, duration=20).move_to_element_with_offset(image, 1.5 * cell, -0.5 * cell).perform()
    value = float(tip(picture).split(": ")[1].split("\n")[0])
    assert tip(picture).startswith("α 3, β 5: ") and np.isclose(value, s.ntk_std()[3, 5], rtol=1e-5)
    cut = float(tip(picture).split("± ")[2].split()[0])
    assert np.isclose(cut, s.truncation("ntk_std")[3, 5], rtol=0.06)


def test_a_click_on_a_pair_and_the_lists_choose_it(page):
    browser = page("flow of 8")
    picture = pictures(browser)[2]
    alpha, beta = (picture.find_element(By.CSS_SELECTOR, f"[data-role={name}]") for name in ("alpha", "beta"))
    image = picture.find_element(By.CSS_SELECTOR, "svg image")
    cell = image.size["width"] / 8
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", image)
    ActionChains(browser, duration=20).move_to_element_with_offset(
        image, -1.5 * cell, 2.5 * cell
    ).click().perform()
    assert (alpha.get_attribute("value"), beta.get_attribute("value")) == ("6", "2")
    assert "α 6, β 2" in picture.text
    Select(alpha).select_by_visible_text("1")
    assert "α 1, β 2" in picture.text


def test_quantity_and_layer_change_the_heat_map(page):
    browser = page("flow of 8")
    picture = pictures(browser)[2]

    def image():
        return picture.find_element(By.CSS_SELECTOR, "svg image").get_attribute("href")

    quantity, layer = (
        picture.find_element(By.CSS_SELECTOR, f"[data-role={name}]") for name in ("quantity", "layer")
    )
    images = {image()}
    for option in Select(quantity).options[1:]:
        Select(quantity).select_by_visible_text(option.text)
        images.add(image())
    assert len(images) == len(Select(quantity).options) == 5
    layer.send_keys("\ue012")  # the arrow to the left
    assert picture.find_element(By.CSS_SELECTOR, "output").text == "3" and image() not in images


def test_the_logarithmic_box_changes_the_axis(page):
    browser = page("dead")
    signal = pictures(browser)[0]
    box = signal.find_element(By.CSS_SELECTOR, "input")
    assert box.is_selected() and any("e-" in text for text in ticks(signal))
    box.click()
    assert not any("e-1" in text for text in ticks(signal))


def test_a_tensor_is_chosen_in_a_comparison(page):
    browser = page("comparison")
    picture = pictures(browser)[0]
    before = ticks(picture)
    Select(picture.find_element(By.CSS_SELECTOR, "[data-role=chart]")).select_by_visible_text("A")
    assert ticks(picture) != before
    to_middle(browser, picture.find_element(By.CSS_SELECTOR, "circle")).perform()
    assert "component (" in tip(picture) and "by sampling and integration" in tip(picture)


def test_inputs_are_saved_as_a_table(page):
    browser = page("flow of 8")
    browser.find_element(By.ID, "save-inputs").click()
    path = browser.downloads / "inputs.csv"
    assert wait(path.exists)
    np.testing.assert_array_equal(np.loadtxt(path, delimiter=","), SAMPLES[:8])


def brightness(browser):
    rgb = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    return sum(map(int, rgb.removeprefix("rgb(").removesuffix(")").split(",")))


def test_colours_are_those_of_the_system_or_as_chosen(page):
    for dark in (True, False):
        browser = page("flow of 8", dark=dark)
        chosen = Select(browser.find_element(By.ID, "theme"))
        assert (brightness(browser) < 200) == dark
        chosen.select_by_value("light" if dark else "dark")
        assert (brightness(browser) < 200) != dark
        chosen.select_by_value("")
        assert (brightness(browser) < 200) == dark


@pytest.mark.parametrize("name", SEEN)
def test_a_phone_need_not_scroll_sideways(name, page):
    browser = page(name, PHONE)
    widths = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert widths == [PHONE[0], PHONE[0]]
    for select in browser.find_elements(By.CSS_SELECTOR, "select, .picture, .verdict"):
        assert select.rect["x"] >= 0 and select.rect["x"] + select.rect["width"] <= PHONE[0]


def test_print_is_light_and_whole(page):
    browser = page("flow of 8", dark=True)
    pdf = base64.b64decode(browser.print_page())
    assert pdf.startswith(b"%PDF") and len(pdf) > 20_000
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    assert brightness(browser) > 700
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert all(d.get_attribute("open") for d in browser.find_elements(By.CSS_SELECTOR, "details"))
    assert not any(b.is_displayed() for b in browser.find_elements(By.CSS_SELECTOR, "button, #theme"))


def test_names_that_are_html_stay_text(page):
    browser = page("hostile")
    assert "taken" not in browser.title.split(" – ")[-1] and browser.title.endswith("ntkflow")
    assert (
        not browser.find_elements(By.CSS_SELECTOR, "img")
        and "onerror" in browser.find_element(By.CSS_SELECTOR, "h1").text
    )
