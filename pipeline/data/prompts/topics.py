"""Finds topics: clusters of similar texts, each with its most characteristic words."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.data.prompts.selection import embed_texts

TERMS = 5
_TERM = r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_]{2,}"  # numbers are not informative
EXAMPLES = 2
MIN_TEXTS_PER_TOPIC = 25  # clusters of fewer texts mean little, and their imports take seconds


class Topic(NamedTuple):
    """A cluster of texts."""

    share: float  # of all texts
    terms: list[str]  # its most characteristic words
    examples: list[str]  # the texts nearest to its centre


def topics_of(texts: Sequence[str], count: int, seed: int) -> list[Topic]:
    """At most `count` topics, the largest first; empty if there are too few texts.

    Texts are clustered by their words (k-means on latent semantic analysis). A topic's words are those with the
    highest class-based TF-IDF (arXiv 2203.05794), without English stop words.
    """
    distinct = list(dict.fromkeys(text for text in texts if text.strip()))
    if len(distinct) < MIN_TEXTS_PER_TOPIC * count:
        return []
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    placed = embed_texts(distinct, seed)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer different texts than clusters: harmless
        found = KMeans(count, random_state=seed, n_init=1).fit(placed)
    labels = found.labels_
    terms = _terms(distinct, labels, count)
    topics = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        near = members[np.argsort(np.linalg.norm(placed[members] - found.cluster_centers_[label], axis=1))]
        topics.append(Topic(len(members) / len(distinct), terms[label], [distinct[i] for i in near[:EXAMPLES]]))
    return sorted(topics, key=lambda topic: -topic.share)


def _terms(texts: Sequence[str], labels: np.ndarray[tuple[int], np.dtype[np.int32]], count: int) -> list[list[str]]:
    from scipy.sparse import coo_array
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(token_pattern=_TERM, stop_words="english", binary=True)
    try:
        words = vectorizer.fit_transform(texts)
    except ValueError:  # only stop words
        return [[] for _ in range(count)]
    members = coo_array((np.ones(len(texts)), (labels, np.arange(len(texts)))), shape=(count, len(texts)))
    in_topic = (members @ words).toarray()
    score = in_topic * np.log(1 + in_topic.sum() / count / np.maximum(in_topic.sum(axis=0), 1))
    names = vectorizer.get_feature_names_out()
    best = np.argsort(-score, axis=1)[:, :TERMS]
    return [[str(names[i]) for i in row if score[label, i] > 0] for label, row in enumerate(best)]
