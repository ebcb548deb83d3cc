"""Whatever a client sends is answered clearly, counted, and never becomes a label."""

import json
import socket
from time import process_time
from typing import Any

import httpx2 as httpx
import pytest

from tests.service.running import Running

ROW: dict[str, Any] = {"age": 30.0, "income": 2000.0, "city": "Bern", "plan": "free"}
JSON = {"content-type": "application/json"}


def body(*rows: Any) -> bytes:
    """Returns a request body, written by Python's own json, which writes NaN and Infinity too."""
    return json.dumps({"instances": list(rows)}).encode()


CASES = {
    "nothing": (b"", 400, None, None),
    "malformed": (b'{"instances": [', 400, None, None),
    "not utf-8": (b'{"instances": [{"city": "\xff"}]}', 400, None, None),
    "NaN": (body(ROW | {"age": float("nan")}), 400, None, None),
    "Infinity": (body(ROW | {"age": float("inf")}), 400, None, None),
    "a number too large": (b'{"instances": [{"age": 1e999}]}', 422, "age", 0),
    "an array": (b"[]", 422, None, None),
    "no instances": (b"{}", 422, "instances", None),
    "instances is null": (b'{"instances": null}', 422, "instances", None),
    "an empty list": (body(), 422, "instances", None),
    "a row that is no object": (body(ROW, 7), 422, "instances", 1),
    "a word for a number": (body(ROW, ROW | {"age": "old"}), 422, "age", 1),
    "a number for a word": (body(ROW | {"city": 7}), 422, "city", 0),
    "a truth for a number": (body(ROW | {"age": True}), 422, "age", 0),
    "an unknown field": (body(ROW, ROW, ROW | {"wage": 1}), 422, "wage", 2),
    "an unknown field beside instances": (b'{"instances": [null], "wage": 1}', 422, "instances", 0),
    "an unknown field before instances": (b'{"wage": 1}', 422, "wage", None),
    "a missing field": (body({k: v for k, v in ROW.items() if k != "plan"}), 422, "plan", 0),
    "a category that the encoder refuses": (body(ROW, ROW | {"plan": "gold"}), 422, "plan", 1),
    "10,001 rows": (body(*[ROW] * 10_001), 422, "instances", None),
}


@pytest.mark.parametrize(("sent", "status", "field", "row"), CASES.values(), ids=CASES.keys())
def test_bad_bodies_are_named_and_counted(
    small_service: Running, sent: bytes, status: int, field: str | None, row: int | None
) -> None:
    """A bad body is answered with a 4xx problem that names field and row, and counted as rejected once."""
    before = small_service.errors()
    response = small_service.client.post("/predict/model", content=sent, headers=JSON)
    problem = response.json()
    assert response.status_code == problem["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["trace_id"] in response.headers["traceresponse"]
    if status == 422:
        assert problem["errors"][0].get("field") == field
        assert problem["errors"][0].get("row") == row
    if field is not None:
        assert field in problem["detail"]
    after = small_service.errors()
    assert after == before | {"rejected": before["rejected"] + 1}


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"])
def test_a_wrong_content_type_is_refused(small_service: Running, content_type: str) -> None:
    """A content type other than application/json is answered 415 and counted."""
    before = small_service.errors()["rejected"]
    response = small_service.client.post("/predict/model", content=body(ROW), headers={"content-type": content_type})
    assert response.status_code == 415
    assert "application/json" in response.json()["detail"]
    assert small_service.errors()["rejected"] == before + 1


def test_a_content_type_with_a_charset_is_read(small_service: Running) -> None:
    """A content type with parameters is read as without them."""
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert small_service.client.post("/predict/model", content=body(ROW), headers=headers).status_code == 200


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_of_50_mb_is_refused(small_service: Running, is_chunked: bool) -> None:
    """A body over the limit is answered 413 and counted, and the connection serves the next request."""
    before = small_service.errors()["rejected"]
    large = b" " * 50_000_000
    sent: Any = (large[i : i + 1_000_000] for i in range(0, len(large), 1_000_000)) if is_chunked else large
    response = small_service.client.post("/predict/model", content=sent, headers=JSON)
    assert response.status_code == 413
    assert "16777216" in response.json()["detail"]
    assert small_service.errors()["rejected"] == before + 1
    assert small_service.predict([ROW]).status_code == 200


def test_nulls_and_unseen_categories_are_data(small_service: Running) -> None:
    """A null is imputed and an unseen category encoded as nothing, and each is counted as what it is."""
    before = small_service.samples("ml_feature_categories_total")
    response = small_service.predict([ROW | {"age": None, "city": None}, ROW | {"city": "Atlantis"}])
    assert response.status_code == 200
    after = small_service.samples("ml_feature_categories_total")
    grown = {(dict(labels)["feature"], dict(labels)["category"]): n - before[labels] for labels, n in after.items()}
    assert {key: n for key, n in grown.items() if n} == {
        ("city", "__missing__"): 1,
        ("city", "__unseen__"): 1,
        ("plan", "free"): 2,
    }


def test_hostile_words_make_no_series(small_service: Running) -> None:
    """Random categories, paths and methods leave the number of series as it was."""

    def series() -> set[str]:
        lines = small_service.client.get("/metrics").text.splitlines()
        return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}

    def attack(seed: int) -> None:
        small_service.predict([ROW | {"city": f"city {seed}"}])
        small_service.client.get(f"/nowhere/{seed}")
        small_service.client.request(f"BREW{seed}", "/predict/model")
        small_service.client.get("/predict/random", params={"error_rate": f"{seed}x"})

    attack(0)
    series()  # the SDK's own series about scrapes are born with the first one
    before = series()
    for seed in range(1, 30):
        attack(seed)
    assert series() == before


def test_a_client_that_leaves_is_counted(small_service: Running) -> None:
    """A client that closes the connection in the middle of its body is counted as cancelled, and harms no other."""
    before = small_service.errors()["cancelled"]
    with socket.create_connection(("127.0.0.1", small_service.port)) as client:
        head = (
            b"POST /predict/model HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
        )
        client.sendall(head + b'{"instances"')
    for _ in range(100):
        if small_service.errors()["cancelled"] == before + 1:
            break
    assert small_service.errors()["cancelled"] == before + 1
    assert small_service.predict([ROW]).status_code == 200


@pytest.mark.parametrize(
    "query", [{"error_rate": "2"}, {"error_rate": "nan"}, {"time_delay_scale": "-1"}, {"time_delay": "1"}]
)
def test_the_dummy_model_refuses_bad_parameters(small_service: Running, query: dict[str, str]) -> None:
    """A parameter that is out of range or unknown is answered 422 with its name, and counted."""
    before = small_service.errors("random")["rejected"]
    response = small_service.client.get("/predict/random", params=query)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == next(iter(query))
    assert small_service.errors("random")["rejected"] == before + 1


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nope", 404), ("GET", "/predict/model", 405)])
def test_wrong_addresses_are_problems(small_service: Running, method: str, path: str, status: int) -> None:
    """An address that no route serves is answered with a problem that has a trace id, too."""
    response: httpx.Response = small_service.client.request(method, path)
    assert response.status_code == response.json()["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert len(response.json()["trace_id"]) == 32


def test_what_is_quoted_is_short(small_service: Running) -> None:
    """The answer to a wrong name is short and takes little work, whatever the length and the characters of the name."""
    name = "x - at `$." * 300_000
    sent = json.dumps({"instances": [ROW | {name: 1}]}).encode()
    start_s = process_time()
    response = small_service.client.post("/predict/model", content=sent, headers=JSON)
    assert response.status_code == 422
    assert len(response.content) < 3000
    assert process_time() - start_s < 2


def test_enormous_numbers_leave_sums_finite(small_service: Running) -> None:
    """Numbers near the largest float are predicted or answered with a 4xx, and no sum becomes infinite."""
    response = small_service.predict([ROW | {"age": 1.7e308, "income": -1.7e308}] * 20)
    assert response.status_code in (200, 422)
    text = small_service.client.get("/metrics").text
    assert all(" inf" not in line.lower() for line in text.splitlines() if "_sum" in line)


@pytest.mark.parametrize("path", ["/predict/model", "/v1/models/small:predict"])
def test_nan_is_told_to_be_null(small_service: Running, path: str) -> None:
    """NaN, which many libraries write, is refused with a sentence that says what to send instead."""
    response = small_service.client.post(path, content=body(ROW | {"age": float("nan")}), headers=JSON)
    assert response.status_code == 400
    assert "send null for a missing value" in response.text


OTHER_SITES = {"cross-site": {"sec-fetch-site": "cross-site"}, "same-site": {"sec-fetch-site": "same-site"}}
OTHER_SITES["an older browser"] = {"origin": "http://attacker.example"}
OTHER_SITES["a page in a frame"] = {"origin": "null"}


@pytest.mark.parametrize("site", OTHER_SITES.values(), ids=OTHER_SITES.keys())
@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("path", ["/predict/model", "/feedback", "/v1/models/small:predict", "/v2/models/small/infer"])
def test_pages_of_other_sites_send_nothing(
    small_service: Running, path: str, content_type: str, site: dict[str, str]
) -> None:
    """What a browser sends for a page of any site of its own accord is refused on every route."""
    headers = site | ({"content-type": content_type} if content_type else {})
    response = small_service.client.post(path, content=body(ROW), headers=headers)
    assert response.status_code in (403, 415)


@pytest.mark.parametrize("site", OTHER_SITES.values(), ids=OTHER_SITES.keys())
def test_pages_of_other_sites_show_no_dummy(small_service: Running, site: dict[str, str]) -> None:
    """An image whose address is `/predict/random` predicts nothing."""
    assert small_service.client.get("/predict/random", headers=site).status_code == 403


def test_pages_of_this_service_are_served(small_service: Running) -> None:
    """A page of the same origin may send without a content type, as clients other than browsers may."""
    own = f"http://127.0.0.1:{small_service.port}"
    for headers in ({}, {"sec-fetch-site": "same-origin"}, {"origin": own}):
        response = small_service.client.post("/v1/models/small:predict", content=body(ROW), headers=headers)
        assert response.status_code == 200


def test_few_of_many_wrong_parameters_are_named(small_service: Running) -> None:
    """2,000 unknown parameters are refused in a short answer."""
    response = small_service.client.get("/predict/random?" + "&".join(f"a{number}=1" for number in range(2000)))
    assert response.status_code == 422
    assert len(response.json()["errors"]) == 10
    assert len(response.content) < 3000
