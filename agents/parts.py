"""What a pipeline is made of: the one place that chooses classes and joins them.

source ─▶ (Faust channel and agent) ─▶ intake ─▶ ordering ─▶ step thread ─▶ publisher ─▶ Redis, Kafka ─▶ source.release
   ▲                                                │             └▶ snapshots
   └─────── what comes next ◀─ model-log ◀──────────┘             membership: what this worker leads and publishes
"""

from __future__ import annotations

from dataclasses import dataclass

import redis.asyncio

from millstream.online_learning.snapshot_remote import open_store
from millstream.online_learning.step import Step
from millstream.streams.dead_letters import DeadLetterTopic
from millstream.streams.kept_off import KeptOff
from millstream.streams.marker import Marker
from millstream.streams.membership import Membership
from millstream.streams.model_log import ModelLog
from millstream.streams.outage import Outage
from millstream.streams.read_ahead import Deliver
from millstream.streams.recommendations import RecommendationsTopic
from millstream.streams.redis_connection import connect, host_of
from millstream.streams.redis_keys import category_key, similar_key
from millstream.streams.redis_topic import BesideTopic, RedisTopic
from millstream.streams.settings import Settings
from millstream.streams.source import InteractionSource

from .abreast import Abreast
from .answering import Answering
from .beside import CATEGORIES_AT_ONCE, SIMILAR_AT_ONCE, Beside
from .catalogue import Catalogue
from .effort import Effort
from .failure import Failure
from .intake import Intake, decoders_of
from .ordering import Ordering
from .publisher import Publisher
from .reporter import Reporter
from .snapshots import Snapshots
from .status import Gauges
from .step_thread import StepThread
from .switching import OFFERED, PREVIOUS, Switching
from .taking_part import TakingPart
from .upkeep import Upkeep
from .withdrawals import Withdrawals


@dataclass(frozen=True, slots=True)
class Parts:
    """What a pipeline is made of, joined but not started."""

    source: InteractionSource
    intake: Intake
    thread: StepThread[Step]
    ordering: Ordering
    model_log: ModelLog
    publisher: Publisher
    snapshots: Snapshots
    catalogue: Catalogue
    beside: tuple[Beside, ...]
    upkeep: Upkeep
    withdrawals: Withdrawals
    answering: Answering
    abreast: Abreast
    taking_part: TakingPart
    switching: Switching
    reporter: Reporter
    dead_letters: DeadLetterTopic
    recommendations: RecommendationsTopic | None
    redis: redis.asyncio.Redis


def join(settings: Settings, failure: Failure, *, interactions: Deliver, items: Deliver, may_lead: bool) -> Parts:
    """Choose classes and join them. With `may_lead` off it follows what others decide, and does no leader's work."""
    gauges = Gauges()
    client = connect(settings.redis.url)
    kafka_outage = Outage(f"Kafka at {settings.kafka.bootstrap_servers}")
    redis_outage = Outage(f"Redis at {host_of(settings.redis.url)}")
    brokers, topics = settings.kafka.bootstrap_servers, settings.topics
    # what flows goes round in circles: the later parts are looked up when something comes
    thread: StepThread[Step] = StepThread(
        slice_ms=settings.worker.slice_ms,
        done=lambda done: publisher.add(done),
        failed=failure.report,
        took=lambda: ordering.moved(),
    )
    model_log = ModelLog(brokers, topics.model_log)
    effort = Effort(settings.worker.effort)
    ordering = Ordering(
        model_log,
        thread,
        effort,
        release=lambda records: source.release(records),
        failed=failure.report,
        most_events=settings.worker.max_chunk_events,
        topics=[topics.items, topics.item_vectors, *(each.topic for each in settings.inputs)],
        swap=lambda swapped: switching.swap(swapped),
    )
    receivers = dict.fromkeys([each.topic for each in settings.inputs], interactions)
    receivers |= dict.fromkeys([topics.items, topics.item_vectors], items)
    source = InteractionSource(
        settings,
        receivers,
        room=ordering.room,
        follower=ordering,
        outage=kafka_outage,
        failed=failure.report,
    )
    dead_letters = DeadLetterTopic(brokers, topics.dead_letters)
    recommendations = None
    if settings.worker.publish_recommendations:
        recommendations = RecommendationsTopic(brokers, topics.recommendations)
    prefix, ttl_s = settings.redis.prefix, settings.redis.list_ttl_s
    marker = Marker(client, prefix=prefix)
    lists = RedisTopic(client, prefix=prefix, ttl_s=ttl_s, feed_length=settings.redis.feed_length, marker=marker)
    publisher = Publisher(
        lists,
        recommendations,
        outage=redis_outage,
        release=source.release,
        failed=failure.report,
        observe=gauges.published,
    )
    intake = Intake(decoders_of(settings), dead_letters, ordering, failure)
    snapshots = Snapshots(
        thread,
        open_store(settings.snapshots.directory),
        every_s=settings.snapshots.every_s,
        keep=settings.snapshots.keep,
        leads=lambda: ordering.leads,
    )
    catalogue = Catalogue(
        client,
        prefix,
        dead_letters,
        ordering,
        marker,
        KeptOff(client, prefix=prefix, rule_ttl_s=ttl_s),
        vectors=topics.item_vectors,
        outage=redis_outage,
        failure=failure,
    )
    beside = tuple(
        Beside(
            thread,
            maker,
            BesideTopic(client, key, prefix=prefix, ttl_s=ttl_s, marker=marker),
            at_once=at_once,
            leads=lambda: ordering.leads,
            outage=redis_outage,
        )
        for maker, key, at_once in (
            (lambda step: step.similar, similar_key, SIMILAR_AT_ONCE),
            (lambda step: step.in_category, category_key, CATEGORIES_AT_ONCE),
        )
    )
    upkeep = Upkeep(
        marker,
        thread,
        publisher,
        beside,
        again=lambda: source.read_again(topics.items, catalogue.withdraw_below),
        leads=lambda: ordering.leads,
        caught_up=lambda: ordering.taken == ordering.next_record and thread.is_idle,
        failed=failure.report,
        every_s=settings.worker.status_every_s,
        slice_ms=settings.worker.slice_ms,
    )
    withdrawals = Withdrawals(thread, lists, upkeep, settings.learning.lists)
    answering = Answering(settings.redis.url, prefix, thread, leads=lambda: ordering.leads)
    abreast = Abreast(
        settings.redis.url,
        prefix,
        client,
        effort,
        name=ordering.writer,
        waiting_s=lambda: thread.behind_s(ordering.ahead),
        leads=lambda: ordering.leads,
    )
    inputs = [each.topic for each in settings.inputs]
    taking_part = TakingPart(
        ordering,
        thread,
        upkeep,
        lambda told: Membership(settings.kafka, inputs, topics.model_log, told=told),
        kafka_outage,
        may_lead=may_lead,
    )
    offered, previous = (open_store(f"{settings.snapshots.directory}/{name}") for name in (OFFERED, PREVIOUS))
    switching = Switching(
        settings.learning,
        ordering,
        model_log,
        thread,
        snapshots,
        upkeep,
        offered=offered,
        previous=previous,
        takes=may_lead,
    )
    reporter = Reporter(
        settings,
        source,
        intake,
        catalogue,
        ordering,
        thread,
        publisher,
        gauges,
        upkeep,
        taking_part.membership,
        client,
        kafka_outage,
        redis_outage,
    )
    return Parts(
        source,
        intake,
        thread,
        ordering,
        model_log,
        publisher,
        snapshots,
        catalogue,
        beside,
        upkeep,
        withdrawals,
        answering,
        abreast,
        taking_part,
        switching,
        reporter,
        dead_letters,
        recommendations,
        client,
    )
