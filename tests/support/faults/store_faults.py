"""What can go wrong between a job and its S3 server: injected by a proxy, planted, or not there at all."""

from dataclasses import dataclass

from tests.support.attempt import Outcome, attempt
from tests.support.faults.http_faults import hang, leave, lose_reply, refuse, reset, short_body, stalled_body
from tests.support.faults.preprocess_sites import BucketSite, Place, Site
from tests.support.faults.proxy import Rule, proxy
from tests.support.faults.rows import Row, differences, half_written, run_again, unclear_error
from tests.support.servers import free_port
from tests.support.watched_job import Patience

LIST = r"^GET .*list-type=2"
PHOTOS, PART = r"^GET .*/images\.tar", r"^GET .*/_parts/"
PUT_SHARD, PUT_PART, PUT_MANIFEST = r"^PUT .*/shards/", r"^PUT .*/_parts/", r"^PUT .*/manifest\.json"
SLOW_DOWN, CONFLICT = refuse(503, "SlowDown"), refuse(409, "ConditionalRequestConflict")
DENIED, SKEWED = refuse(403, "AccessDenied"), refuse(403, "RequestTimeTooSkewed")

AGAIN, NETWORK = "again", "AWS_ENDPOINT_URL_S3"
CREDENTIALS, CLOCK = "credentials", "NTP"
DELETE = "delete|another"

QUICK = Patience(attempts=2, seconds=1)
ROUNDS = 4  # requests of retry_transient (dogbreed.core.storage.s3) when botocore has given up


@dataclass(frozen=True)
class StoreFault:
    """A fault, the exit code that docs/architecture.md has for it, and what the last line says, as a regex."""

    name: str
    rule: Rule
    exit_code: int = 0
    says: str = ""


UNAVAILABLE = StoreFault("503 for ever", Rule(SLOW_DOWN), 75, AGAIN)
FAULTS = (
    StoreFault("503 once, on the first request", Rule(SLOW_DOWN, times=1)),
    StoreFault("503 five times while photos are read", Rule(SLOW_DOWN, PHOTOS, times=5, skip=20)),
    StoreFault("503 five times while shards are put", Rule(SLOW_DOWN, PUT_SHARD, times=5)),
    UNAVAILABLE,
    StoreFault("503 for ever from the third part on", Rule(SLOW_DOWN, PUT_PART, skip=2), 75, AGAIN),
    StoreFault("no answer once, to a photo's GET", Rule(hang, PHOTOS, times=1, skip=20)),
    StoreFault("no answer once, to a shard's PUT", Rule(hang, PUT_SHARD, times=1)),
    StoreFault("no answer at all", Rule(hang), 69, NETWORK),
    StoreFault("no answer to the manifest's PUT for ever", Rule(hang, PUT_MANIFEST), 75, AGAIN),
    StoreFault("half a photo once", Rule(short_body, PHOTOS, times=1, skip=20)),
    StoreFault("half a part once", Rule(short_body, PART, times=1)),
    StoreFault("half a photo once, then no more", Rule(stalled_body, PHOTOS, times=1, skip=20)),
    StoreFault("half a list of objects once", Rule(short_body, LIST, times=1)),
    StoreFault("half of every list of objects", Rule(short_body, LIST), 75, AGAIN),
    StoreFault("half of every photo", Rule(short_body, PHOTOS, skip=20), 75, AGAIN),
    StoreFault("connection reset once, at a part's PUT", Rule(reset, PUT_PART, times=1)),
    StoreFault("connection reset at every request", Rule(reset), 69, NETWORK),
    StoreFault("connection reset at every shard's PUT", Rule(reset, PUT_SHARD), 75, AGAIN),
    StoreFault("reply to a shard's PUT lost", Rule(lose_reply, PUT_SHARD, times=1)),
    StoreFault("reply to a part's PUT lost", Rule(lose_reply, PUT_PART, times=1)),
    StoreFault("reply to the manifest's PUT lost", Rule(lose_reply, PUT_MANIFEST, times=1)),
    StoreFault("replies to the manifest's PUT lost for ever", Rule(lose_reply, PUT_MANIFEST), 75, AGAIN),
    StoreFault("409 three times, at a shard's PUT", Rule(CONFLICT, PUT_SHARD, times=3)),
    StoreFault("409 for ever, at the manifest's PUT", Rule(CONFLICT, PUT_MANIFEST), 75, AGAIN),
    StoreFault("403 at every request", Rule(DENIED), 77, CREDENTIALS),
    StoreFault("403 at every PUT", Rule(DENIED, "^PUT"), 77, CREDENTIALS),
    StoreFault("clock skew", Rule(SKEWED), 78, CLOCK),
    StoreFault("clock skew from the first HEAD on", Rule(SKEWED, r"^(HEAD|PUT|GET .*\.(json|tar))"), 78, CLOCK),
    StoreFault("clock skew from the first PUT on", Rule(SKEWED, "^PUT"), 78, CLOCK),
    StoreFault("server gone from the third shard on", Rule(leave, PUT_SHARD, skip=2), 75, AGAIN),
)


def inject(site: BucketSite, fault: StoreFault, patience: Patience | None = QUICK) -> Row:
    """Run the job against a server with this fault, then again without."""
    row, place = Row(fault.name), site.place()
    with proxy(site.endpoint, [fault.rule]) as (endpoint, server):
        order = place.order(environment={"AWS_ENDPOINT_URL_S3": endpoint}, patience=patience)
        outcome = attempt(order)
    problems = _ended(row, place, outcome, fault.exit_code, fault.says)
    if not server.met:
        problems.append("no request met the fault")
    if patience and outcome.seconds > (limit := 10 * site.clean.run[1] + _longest(patience)):
        problems.append(f"{outcome.seconds:.0f} s are more than {limit:.0f} s")
    row.judge(problems + run_again(row, place), fault.name)
    return row


def _longest(patience: Patience) -> float:
    """Return the seconds that one call to the store may take; botocore's pauses are at most 1, 2, 4, ... 20 s."""
    pauses = sum(min(2.0**number, 20) for number in range(patience.attempts - 1))
    return ROUNDS * (patience.attempts * patience.seconds + pauses)


def _ended(row: Row, place: Place, outcome: Outcome, exit_code: int, says: str) -> list[str]:
    """Return what is wrong with an exit code, the last line on stderr and what is visible then."""
    clean, problems = place.site.clean.objects, row.ended(outcome, exit_code)
    if exit_code == 0:
        return problems + differences(place.objects(), clean)
    return problems + unclear_error(outcome, says) + half_written(place.objects(), clean)


def never_there(site: BucketSite) -> Row:
    """Name a port that nobody listens on."""
    row, place = Row("nobody listens"), site.place()
    closed = {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{free_port()}"}
    outcome = attempt(place.order(environment=closed, patience=QUICK))
    row.judge(_ended(row, place, outcome, 69, NETWORK) + run_again(row, place), row.fault)
    return row


def missing_bucket(site: BucketSite) -> Row:
    """Name a bucket that nobody has created."""
    row, place = Row("no such bucket"), site.place()
    outcome = attempt(place.order("--out", "s3://dogbreed-never-created/dogs"))
    row.judge(_ended(row, place, outcome, 2, "create") + run_again(row, place), row.fault)
    return row


def planted(site: Site, kind: str) -> Row:
    """Put other bytes where the first object of a kind (shards, _parts, manifest) belongs, and delete them later."""
    row, place = Row(f"other bytes at a key of {kind} ({site.name})"), site.place()
    key = next(key for key in sorted(site.clean.objects) if key.startswith(kind))
    site.write(place.out, key, b"other")
    outcome = attempt(place.order())
    problems = row.ended(outcome, 65) + unclear_error(outcome, DELETE)
    if place.objects().get(key) != b"other":
        problems.append(f"{key} was overwritten")
    site.delete(place.out, key)
    problems += half_written(place.objects(), site.clean.objects)
    row.judge(problems + run_again(row, place), row.fault)
    return row


def lost(site: Site, *kinds: str) -> Row:
    """Delete the first object of each kind from a complete dataset, as the error about a damaged one advises."""
    row, place = Row(f"lost from a complete dataset: {', '.join(kinds)} ({site.name})"), site.place()
    site.undisturbed(place)
    for kind in kinds:
        site.delete(place.out, next(key for key in sorted(site.clean.objects) if key.startswith(kind)))
    row.judge(run_again(row, place), row.fault)
    return row
