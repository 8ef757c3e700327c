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
from millstream.streams.redis_topic import RedisTopic, SimilarTopic
from millstream.streams.settings import Settings
from millstream.streams.source import InteractionSource

from .catalogue import Catalogue
from .effort import Effort
from .failure import Failure
from .intake import Intake, decoders_of
from .ordering import Ordering
from .publisher import Publisher
from .reporter import Reporter
from .similar_items import SimilarItems
from .snapshots import Snapshots
from .status import Gauges
from .step_thread import StepThread
from .switching import OFFERED, PREVIOUS, Switching
from .taking_part import TakingPart
from .upkeep import Upkeep


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
    similar: SimilarItems
    upkeep: Upkeep
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
    ordering = Ordering(
        model_log,
        thread,
        Effort(settings.worker.effort),
        release=lambda records: source.release(records),
        failed=failure.report,
        most_events=settings.worker.max_chunk_events,
        topics=[topics.items, *(each.topic for each in settings.inputs)],
        swap=lambda swapped: switching.swap(swapped),
    )
    receivers = {settings.topics.items: items, **{each.topic: interactions for each in settings.inputs}}
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
        outage=redis_outage,
        failure=failure,
    )
    similar_lists = SimilarTopic(client, prefix=prefix, ttl_s=ttl_s, marker=marker)
    similar = SimilarItems(thread, similar_lists, leads=lambda: ordering.leads, outage=redis_outage)
    upkeep = Upkeep(
        marker,
        thread,
        publisher,
        similar,
        again=lambda: source.read_again(topics.items, catalogue.withdraw_below),
        leads=lambda: ordering.leads,
        caught_up=lambda: ordering.taken == ordering.next_record and thread.is_idle,
        failed=failure.report,
        every_s=settings.worker.status_every_s,
        slice_ms=settings.worker.slice_ms,
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
        similar,
        upkeep,
        taking_part,
        switching,
        reporter,
        dead_letters,
        recommendations,
        client,
    )
