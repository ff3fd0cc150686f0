"""What a person sees in a browser: MLflow's pages of a run, and the report."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from karma.store import Store
from tests.small import KARMA, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    # MLflow's database layer warns of its own library's next version.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.skipif(not Path("/usr/bin/chromedriver").exists(), reason="no chromedriver here"),
]

FIGURES = {
    "Differences of every policy, with intervals",
    "Gain on primary benchmarks against change in factuality",
    "Gain in gold reward and the part that length explains",
    "Reward and gold reward against KL",
    "Reward models compared",
    "Training curves",
    "What was made from what",
}
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--window-size=1500,3000"
)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = Options()
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


@pytest.fixture
def pages(workspace: Path, tmp_path: Path) -> Iterator[str]:
    """The address of MLflow as ``karma ui`` serves it."""
    log = tmp_path / "ui.log"
    with log.open("w") as output:
        child = subprocess.Popen(
            [KARMA, "ui", "--workspace", str(workspace), "--port", "5077"], stdout=output
        )
    wait_until(lambda: "Ctrl-C" in log.read_text(), 180)
    yield log.read_text().split()[1]
    child.send_signal(signal.SIGINT)
    assert child.wait(30) in (0, 130)


def shows(browser: webdriver.Chrome, *words: str) -> None:
    """Wait until all words stand on the page."""

    def there(driver: webdriver.Chrome) -> bool:
        text = driver.find_element(By.TAG_NAME, "body").text
        return all(word in text for word in words)

    WebDriverWait(browser, 90).until(there, f"{words} not on {browser.current_url}")


def test_a_person_reaches_the_reward_from_a_policys_page_in_mlflow(workspace, pages, browser):
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("smoke").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    parent = next(run for name, run in runs.items() if name.startswith("smoke "))
    policy = runs["policy/reddit/context/0"].info.run_id
    reward = runs["reward/context/0"].info.run_id
    browser.get(f"{pages}/#/experiments/{experiment}/runs/{policy}")
    # Its parent, the data set that it read, the models that it read and made.
    shows(browser, parent.info.run_name, "prompts/reddit", "policy-reddit-context-0")
    shows(browser, "reward-context-0", "sft-reddit-0")
    link = browser.find_element(By.LINK_TEXT, "reward/context/0")
    browser.execute_script("arguments[0].click()", link)
    wait_until(lambda: any(reward in _address(browser, h) for h in browser.window_handles), 60)
    shows(browser, "reward/context/0", "labels")
    browser.get(f"{pages}/#/experiments/{experiment}/runs/{parent.info.run_id}")
    shows(browser, "All instances are up to date", "policy/reddit/context/0")


def test_from_a_headline_number_to_the_dumps_data_sets_it_is_five_clicks_at_most(
    workspace, pages, browser
):
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("smoke").experiment_id
    runs = {run.info.run_name: run.info.run_id for run in client.search_runs([experiment])}
    (threads,) = (name for name in runs if name.startswith("threads/2"))
    store = Store(workspace)
    files = store.manifest(store.ref("smoke", "world")["digest"])
    report = store.path(store.ref("smoke", "report")["digest"]) / "report.json"
    headline = json.loads(report.read_bytes())["headline"]["rows"]
    numbers = {row["model"]: row["cells"]["humor"] for row in headline}
    for model, way in {
        "policy/reddit/context/0": ["policy/reddit/context/0", "prompts/reddit", threads],
        # An unexposed policy comes to Reddit's text by its reward alone.
        "policy/unexposed/context/0": ["reward/context/0", "labels", threads],
    }.items():
        scores = client.get_run(runs[f"evals/{model}"]).data.metrics
        assert scores[f"humor/{numbers[model]['metric']}"] == numbers[model]["value"]
        for file in ("RC_2023-01.zst", "RS_2023-01.zst"):
            browser.get(f"{pages}/#/experiments/{experiment}/runs/{runs[f'evals/{model}']}")
            clicks = 0
            for name in (*way, f"dumps/{file}"):
                click(browser, By.LINK_TEXT, name)
                clicks += 1
                wait_until(lambda n=name: _at(browser, runs[n]), 60)
            digest = files[file]["sha256"][:16]
            click(browser, By.XPATH, f"//span[normalize-space(.)='source/{file} ({digest})']")
            clicks += 1
            shows(browser, f"Digest: {digest}", f"Path: {file}")
            assert clicks <= 5
            print(f"{model} to {file}: {clicks} clicks")


def click(browser: webdriver.Chrome, by: str, value: str) -> None:
    """Click as a person does, once it is there and nothing lies over it."""

    def clicked(driver: webdriver.Chrome) -> bool:
        found = driver.find_element(by, value)
        driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
        found.click()
        return True

    still = (
        NoSuchElementException,
        ElementClickInterceptedException,
        StaleElementReferenceException,
    )
    WebDriverWait(browser, 90, ignored_exceptions=still).until(
        clicked, f"{value} cannot be clicked on {browser.current_url}"
    )


def _at(browser: webdriver.Chrome, run: str) -> bool:
    """Whether a window shows a run; it is the one that is looked at from now on."""
    return any(run in _address(browser, handle) for handle in browser.window_handles)


def _address(browser: webdriver.Chrome, handle: str) -> str:
    browser.switch_to.window(handle)
    return browser.current_url


def test_the_report_opens_without_errors_and_asks_for_nothing_from_elsewhere(workspace, browser):
    store = Store(workspace)
    report = store.path(store.ref("smoke", "report")["digest"]) / "report.html"
    browser.get(report.as_uri())
    time.sleep(1)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    asked = [e["message"] for e in browser.get_log("performance") if "requestWillBeSent" in str(e)]
    assert not any('"url":"http' in message for message in asked)
    images = browser.find_elements(By.TAG_NAME, "img")
    assert images
    assert all(image.get_property("naturalWidth") > 100 for image in images)
    assert {image.get_attribute("alt") for image in images} >= FIGURES
    for part in ("Answers", "Results by model", "Side effects", "Reward models", "Lineage"):
        assert part in browser.find_element(By.TAG_NAME, "body").text
