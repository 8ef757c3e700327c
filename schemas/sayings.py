"""The words that an endpoint's phrasing of a reason may be made of, by language and group of signals.

A closed list instead of one of forbidden words: what is not here cannot be claimed. Whoever adds a language gives each
group the words that state it (`key`, one of which a phrasing has to use) and those that go with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Saying(NamedTuple):
    """Of one group, in one language; all in lower case, an apostrophe parts words."""

    key: frozenset[str]
    others: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        """Both."""
        return self.key | self.others


class Sayings(NamedTuple):
    """Of one language."""

    plain: frozenset[str]
    """Words that state nothing by themselves."""
    of: Mapping[str, Saying]
    never: frozenset[str]
    """Words that are no reason of ours, also where an item's own text has them."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _saying(key: str, others: str) -> Saying:
    return Saying(_set(key), _set(others))


SAYINGS: Mapping[str, Sayings] = {
    "en": Sayings(
        plain=_set(
            "a an and as at by for from in is it its of on or that the this to too with one another "
            "something which also"
        ),
        of={
            "together": _saying(
                "choose chosen chose picked together alongside paired pairs",
                "often frequently people who others usually well goes along",
            ),
            "content": _saying(
                "like similar description story theme subject spirit vein reminiscent resembles",
                "close describes tells tale kind sounds reads says told same about much shares",
            ),
            "taste": _saying("taste suits suit fits fit matches match", "you your going judging chose who have should"),
            "yours": _saying("again already before once", "you your have chosen chose picked earlier back"),
            "popular": _saying(
                "popular favourite favorite", "right now currently everyone everybody many people among"
            ),
            "trending": _saying("demand trending sought", "right now currently moment lately much after"),
        },
        never=_set(
            "best bestseller better buy call cheap cheaper click cure deal discount exclusive expert free "
            "guarantee guaranteed hurry ignore limited must never new not offer official only order sale "
            "save today top visit winner www http https com"
        ),
    ),
    "de": Sayings(
        plain=_set(
            "ein eine einer eines einem einen der die das dem den des und als mit von vom zu zum zur für "
            "in im auf aus ist es sich dies dieser diese dieses etwas auch nach bei an am um was"
        ),
        of={
            "together": _saying(
                "gewählt wählen wählt ausgesucht ausgewählt zusammen gemeinsam",
                "oft häufig wird werden wurde wer andere anderen leute menschen gern",
            ),
            "content": _saying(
                "ähnlich ähnelt erinnert beschreibung geschichte thema handlung erzählt klingt wie",
                "laut beschrieben art weise handelt gleichen ganz seiner ihrer sehr",
            ),
            "taste": _saying(
                "geschmack passt passend gefallen",
                "sie ihr ihre ihrem ihren ihnen gemessen gewählt haben könnte wer",
            ),
            "yours": _saying("bereits schon wieder früher erneut", "sie ihnen ihre haben gewählt einmal"),
            "popular": _saying("beliebt", "zurzeit derzeit gerade aktuell viele vielen besonders sehr"),
            "trending": _saying("gefragt begehrt", "zurzeit derzeit gerade aktuell moment sehr"),
        },
        never=_set(
            "angebot anrufen beste besten bester bestes besser bestellen bestseller billig exklusiv "
            "experten garantie garantiert gratis günstig heute heilt ignoriere jetzt kaufen klicken "
            "kostenlos neu nicht nie nur offiziell rabatt sieger sparen testsieger www http https com"
        ),
    ),
    "fr": Sayings(
        plain=_set(
            "un une le la les l de du des d et à au aux en dans par pour avec sur ce cet cette ces c est "
            "qui que qu se s il elle aussi son sa ses"
        ),
        of={
            "together": _saying(
                "choisi choisie choisis choisies choisit choisissent ensemble",
                "souvent fréquemment ceux ont autres on gens personnes",
            ),
            "content": _saying(
                "proche semblable similaire rappelle description histoire thème esprit récit ressemble comme",
                "raconte même genre décrit évoque très",
            ),
            "taste": _saying("goût goûts plaire correspond convient", "votre vos vous juger devrait jugeant"),
            "yours": _saying("déjà auparavant", "vous avez choisi fois été"),
            "popular": _saying("populaire apprécié prisé", "actuellement moment tous beaucoup très"),
            "trending": _saying("demandé recherché tendance", "actuellement moment très"),
        },
        never=_set(
            "achat acheter achetez appelez aujourd cliquez commander exclusif expert garanti garantie "
            "gratuit gratuite ignore jamais limitée maintenant meilleur meilleure moins ne nouveau "
            "nouvelle offerte offre officiel pas promotion remise seulement solde www http https com"
        ),
    ),
    "es": Sayings(
        plain=_set("un una el la los las lo de del y a al en por para con que se es este esta esto su sus también"),
        of={
            "together": _saying(
                "elegido elegida elegirse elige eligen junto juntos",
                "suele suelen menudo frecuencia quienes otros personas",
            ),
            "content": _saying(
                "parecido parecida similar semejante recuerda descripción historia tema trama espíritu como",
                "según cuenta mismo género evoca muy",
            ),
            "taste": _saying("gusto gustos encaja gustarte acorde", "tu tus te juzgar puede va"),
            "yours": _saying("ya antes", "has elegido tú vez"),
            "popular": _saying("popular", "ahora actualmente momento todos muchos muy gente"),
            "trending": _saying("solicitado demandado tendencia", "ahora actualmente momento muy"),
        },
        never=_set(
            "barato clic comprar compra descuento exclusivo experto garantizado gratis hoy ignora "
            "limitada llama mejor nuevo nueva nunca no oferta oficial pedir rebaja regalo solo sólo único "
            "www http https com"
        ),
    ),
}
"""By language; in the others templates alone are said."""
