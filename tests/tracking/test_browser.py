"""An evaluation in a real browser: MLflow's pages, and the report without a network."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from bench.jobs import draw_raw, job
from tests.support.servers import mlflow_server

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
FLAGS = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
FLAGS += "disable-component-update disable-sync hide-scrollbars window-size=1500,1100"
PATIENCE = 300  # seconds: a page of MLflow takes 3 s on an idle core, far longer beside other work
# in script: every image is loaded and decoded
WHOLE = "return [...document.images].every(image => image.complete && image.naturalWidth > 0) && document.images.length"

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium and its driver are not installed"),
]


@dataclass(frozen=True)
class Reviewed:
    """An MLflow server with two evaluations of a model, and where screenshots go."""

    address: str
    experiment: str
    test: dict[str, Any]  # summary of the evaluation on test
    validation: dict[str, Any]
    shots: Path

    def page(self, path: str) -> str:
        return f"{self.address}/#/{path}?workflowType=machine_learning"

    def of_run(self, tab: str = "") -> str:
        return self.page(f"experiments/{self.experiment}/runs/{self.test['run_id']}{tab}")


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewed]:
    home = tmp_path_factory.mktemp("reviewed")
    shots = tmp_path_factory.mktemp("screenshots")
    with mlflow_server(home) as address:
        run = partial(job, MLFLOW_TRACKING_URI=address)
        raw, data = draw_raw(home, 24), f"{home}/data"
        run("preprocess", "--source", "synthetic", "--raw", raw, "--out", data, "--size", "64", "--crop", "defer")
        run("train", "--data", data, "--recipe", "synthetic-64", "--epochs", "4")
        test, validation = (
            run("evaluate", "--data", data, "--split", split, "--compare-with", "whole")
            for split in ("test", "validation")
        )
        client = mlflow.MlflowClient(address)
        client.set_registered_model_alias("dogbreed", "champion", "1")
        experiment = client.get_experiment_by_name("dogbreed/evaluate").experiment_id
        yield Reviewed(address, experiment, test, validation, shots)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS.split(), f"user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


def until(browser: webdriver.Chrome, condition: Callable[[webdriver.Chrome], Any]) -> Any:
    return WebDriverWait(browser, PATIENCE).until(condition)


def first(browser: webdriver.Chrome, css: str) -> WebElement:
    """Return the first element of that kind once it is there."""
    found: WebElement = until(browser, lambda b: b.find_element(By.CSS_SELECTOR, css))
    return found


def wait_for_words(browser: webdriver.Chrome, *words: str) -> None:
    """Wait until the page has all these words."""
    until(browser, lambda b: all(word in b.find_element(By.TAG_NAME, "body").text for word in words))


def shown_runs(browser: webdriver.Chrome) -> set[str]:
    return {link.text for link in browser.find_elements(By.CSS_SELECTOR, "a[href*='/runs/']")} - {""}


def test_a_run_is_found_by_search(reviewed: Reviewed, browser: webdriver.Chrome) -> None:
    browser.get(reviewed.page(f"experiments/{reviewed.experiment}/runs"))
    until(browser, lambda b: shown_runs(b) == {"simple-test", "simple-validation"})
    box = first(browser, "[data-testid='search-box']")
    box.send_keys("tags.`dogbreed.split` = 'test' and metrics.test_top1 >= 0" + Keys.ENTER)
    until(browser, lambda b: shown_runs(b) == {"simple-test"})
    browser.save_screenshot(reviewed.shots / "search.png")


def test_its_page_shows_description_dataset_and_metrics_with_intervals(
    reviewed: Reviewed, browser: webdriver.Chrome
) -> None:
    browser.set_window_size(1500, 2400)
    browser.get(reviewed.of_run())
    share = f"{100 * reviewed.test['top1']:.1f} %"
    wait_for_words(browser, "simple-test", f"Top-1 {share}", "The full report is the artifact", "dogbreed (")
    for name in ("top1", "top1_ci95_low", "top1_ci95_high", "ece", "delta_top1"):
        wait_for_words(browser, f"test_{name}\n{reviewed.test[name]}"[:30])
    browser.save_screenshot(reviewed.shots / "run.png")


@pytest.mark.parametrize("name", ["confusion_matrix", "grad_cam", "reliability", "confusable_pairs"])
def test_a_figure_opens_among_the_artifacts(reviewed: Reviewed, browser: webdriver.Chrome, name: str) -> None:
    browser.get(reviewed.of_run(f"/artifacts/figures/{name}_test.png"))
    image = first(browser, "img[src^='blob:']")
    until(browser, lambda b: b.execute_script("return arguments[0].naturalWidth", image) > 500)
    browser.save_screenshot(reviewed.shots / f"{name}.png")


def test_the_report_opens_inside_mlflow(reviewed: Reviewed, browser: webdriver.Chrome) -> None:
    browser.get(reviewed.of_run("/artifacts/report.html"))
    browser.switch_to.frame(first(browser, "iframe"))
    until(browser, lambda b: b.execute_script(WHOLE) == 9)  # eight figures of the evaluation, and the learning curves
    wait_for_words(browser, "Scores", f"{100 * reviewed.test['top1']:.1f} %", "this model on whole images")
    browser.save_screenshot(reviewed.shots / "report_in_mlflow.png")


@pytest.mark.parametrize("width", [390, 1200])
def test_the_report_opens_without_a_network_and_fits_the_page(
    reviewed: Reviewed, browser: webdriver.Chrome, tmp_path: Path, width: int
) -> None:
    client = mlflow.MlflowClient(reviewed.address)
    report = client.download_artifacts(reviewed.test["run_id"], "report.html", str(tmp_path))
    screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
    )
    browser.get(Path(report).as_uri())
    assert until(browser, lambda b: b.execute_script(WHOLE)) == 9
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    browser.save_screenshot(reviewed.shots / f"report_{width}.png")


def test_the_registered_model_shows_its_aliases(reviewed: Reviewed, browser: webdriver.Chrome) -> None:
    browser.get(reviewed.page("models/dogbreed"))
    wait_for_words(browser, "dogbreed", "Version 1", "@ candidate", "@ champion")
    browser.save_screenshot(reviewed.shots / "model.png")
