"""Answers with words: the sentence of each item, by a template or as an endpoint put it.

Titles, and what an endpoint has said, come by one round trip more; without `words=` there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Header, Query

from millstream.schemas.languages import lookup, wanted
from millstream.schemas.phrases import DEFAULT, LANGUAGES
from millstream.schemas.phrasing import Ask, Texts, askable, flaw
from millstream.schemas.records import ScoredItem
from millstream.schemas.words import Told, named_items, sentence, told
from millstream.streams.answer import Answer
from millstream.streams.kept_words import KeptWords, Read, Topic
from millstream.streams.redis_keys import POPULAR
from millstream.streams.slate_json import answer_json

from .metrics import Metrics
from .models import AUTO, LANGUAGE, MOST_LANGUAGE
from .phrasing import Phrasing

InWords = Annotated[
    str | None,
    Query(
        pattern=LANGUAGE,
        max_length=MOST_LANGUAGE,
        description="Add a sentence for people to each item, in this language (`en`, `de`, …), or as the header "
        "Accept-Language says (`auto`); English where there are no words in it. Plain text: escape it as any other.",
    ),
]
Accepted = Annotated[str | None, Header(alias="Accept-Language", description="Counts with `words=auto`.")]


def language_of(words: str | None, accepted: str | None) -> str | None:
    """Return the language to answer in; None: no words are asked for."""
    if words is None:
        return None
    return lookup(wanted(accepted or "") if words.lower() == AUTO else [words], LANGUAGES, DEFAULT)


def headers_of(words: str | None, language: str | None) -> dict[str, str]:
    """Return what an answer in words says of itself."""
    if words is None or language is None:
        return {}
    varies = {"Vary": "Accept-Language"} if words.lower() == AUTO else {}
    return {"Content-Language": language} | varies


class Worded:
    """Puts answers into words. One event loop owns it. What Redis does costs titles, never an answer."""

    def __init__(self, kept: KeptWords, metrics: Metrics, phrasing: Phrasing | None = None) -> None:
        self._kept = kept
        self._metrics = metrics
        self._phrasing = phrasing

    async def lists_json(self, answers: Sequence[Answer], language: str | None) -> list[dict[str, Any]]:
        """Return answers as `answer_json` has them, each item with its `words` if a language is given."""
        lists = [answer_json(answer) for answer in answers]
        if language is not None:
            items = [item for answer in answers for item in answer.items]
            said = [told(item, everybodys=_is_everybodys(answer)) for answer in answers for item in answer.items]
            shown = [each for found in lists for each in found["items"]]
            for each, words in zip(shown, await self.sentences(items, said, language), strict=True):
                each["words"] = words
        return lists

    async def sentences(self, items: Sequence[ScoredItem], said: Sequence[Told], language: str) -> list[str]:
        """Return one sentence an item, by one round trip."""
        topics = [_topic(item, each, language) for item, each in zip(items, said, strict=True)]
        if self._phrasing is None:
            topics = [None] * len(topics)
        asked = list(dict.fromkeys(topic for topic in topics if topic is not None))
        wanted_ids = dict.fromkeys(named_items(said))
        wanted_ids |= dict.fromkeys(topic.item_id for topic in asked)
        read = await self._kept.read(list(wanted_ids), asked)
        titles = {item_id: texts.title for item_id, texts in read.texts.items() if texts.title}
        phrased = self._phrased(asked, read)
        sentences = []
        for each, topic in zip(said, topics, strict=True):
            better = phrased.get(topic) if topic is not None else None
            self._metrics.worded("endpoint" if better else "template")
            sentences.append(better or sentence(each, titles, language))
        return sentences

    def _phrased(self, asked: Sequence[Topic], read: Read) -> dict[Topic, str]:
        """Return the phrasings that pass as the texts stand now, and offer what was never asked for."""
        found: dict[Topic, str] = {}
        for topic, phrasing in zip(asked, read.phrasings, strict=True):
            if phrasing:
                evidence = read.texts.get(topic.evidence_id) if topic.evidence_id else None
                ask = Ask(topic.language, topic.phrase, read.texts.get(topic.item_id, Texts()), evidence)
                if (evidence is not None or not topic.evidence_id) and flaw(phrasing, ask) is None:
                    found[topic] = phrasing
            elif phrasing is None and read.answered and self._phrasing is not None:
                self._phrasing.offer(topic, read.texts)
        return found


def _topic(item: ScoredItem, said: Told, language: str) -> Topic | None:
    if not askable(said, language):
        return None
    return Topic(language, said.reasons[0].phrase, said.reasons[0].item_id, item.item_id)


def _is_everybodys(answer: Answer) -> bool:
    return answer.user_id == POPULAR or answer.fallback in ("popular", "category")
