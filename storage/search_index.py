"""Product search inside the process: BM25 over an index that is kept in memory or in a folder.

What a shopper types is never parsed as query syntax: it is analysed into words, and the query
is put together from the words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from uuid import UUID

import orjson
from tantivy import (
    Document,
    FieldType,
    Filter,
    Index,
    IndexWriter,
    Occur,
    Order,
    Query,
    Schema,
    SchemaBuilder,
    Searcher,
    TextAnalyzer,
    TextAnalyzerBuilder,
    Tokenizer,
)

from domain.catalog import DEFAULT_CURRENCY, ListedProduct
from storage.search_facets import AGGREGATIONS, Facets, facets_of

TEXT_LENGTH_MAX = 1_000
"""Characters of a search that are looked at; the rest is ignored."""

WORDS_MAX = 16
WORD_LENGTH_MAX = 40
"""Longer words are neither indexed nor searched."""

FUZZY_LETTERS_MIN = 4
PREFIX_LETTERS_MIN = 2
LIMIT_MAX = 100
HITS_REACHABLE_MAX = 10_000
WRITER_MEMORY_BYTES = 64_000_000
CACHED_SEARCHES_MAX = 1_024

_PRICE_CEILING_MINOR = 2**62
_FIELD_BOOSTS = {"name": 3.0, "brand": 1.0, "category": 1.0, "tags": 1.0, "description": 1.0}
_OTHER_FIELDS_SHARE = 0.3  # of a word's score in the fields where it scores less than the best
_PREFIX_SCORE = 0.5  # below almost any whole word's BM25, so that whole words come first
_FUZZY_SCORE = 0.25
# Words that say nothing about a product; left out unless there are no others.
_NOISE = frozenset(
    ("a", "an", "and", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuery:
    """What a shopper asks for: free text and filters; prices in minor units, both ends included.

    A category is found by its name or a path's beginning ("Apparel" finds "Apparel > Shoes"),
    a brand by its name; letter case, accents and punctuation do not matter in either.
    """

    text: str = ""
    category: str | None = None
    brand: str | None = None
    min_price_minor: int | None = None
    max_price_minor: int | None = None
    page: int = 1
    limit: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedSummary:
    """What a list of results shows of a product; a hit needs no database."""

    product_id: UUID
    name: str
    price_minor: int
    currency: str
    seller_id: UUID
    seller: str
    pairs: dict[UUID, tuple[UUID, ...]]
    """inventory_ids by variant_id: where to ask what is in stock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPage:
    """One page of results, best first, and what there is in all."""

    hits: tuple[ListedSummary, ...]
    total: int
    facets: Facets


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTooDeep:
    """The refusal to page beyond `hits_max` results; narrowing the search is what helps."""

    page: int
    limit: int
    hits_max: int = HITS_REACHABLE_MAX


class SearchIndex:
    """The products that are for sale, searchable.

    Any number of threads may search; `apply` may run in another thread, and searches see either
    all of it or nothing. In memory without a `path`, else in that folder, which one process at a
    time may hold (ValueError from the constructor if another does).
    """

    def __init__(self, path: Path | None = None, *, currency: str = DEFAULT_CURRENCY) -> None:
        if path is not None:
            path.mkdir(parents=True, exist_ok=True)
        self._currency = currency
        self._schema = _schema()
        self._index = _open_index(self._schema, path)
        self._writer: IndexWriter = self._index.writer(WRITER_MEMORY_BYTES, 1)
        self._apply_lock = Lock()
        self._snapshot = self._new_snapshot()

    @property
    def size(self) -> int:
        """How many products are listed."""
        return self._snapshot.searcher.num_docs

    def apply(self, products: Sequence[ListedProduct]) -> None:
        """Take over products as they are now: active ones are listed, all others leave.

        Of a product that is given twice the last one counts; applying again changes nothing.
        Blocks for about 0.1 ms per product.
        """
        newest = {product.product_id: product for product in products}
        if not newest:
            return
        with self._apply_lock:
            was_empty = self.size == 0
            for product in newest.values():
                if not was_empty:
                    self._writer.delete_documents_by_term("product_id", product.product_id.hex)
                if product.status == "active":
                    self._writer.add_document(_document(product))
            self._writer.commit()
            self._snapshot = self._new_snapshot()

    def search(self, query: SearchQuery) -> SearchPage | PageTooDeep:
        """The page of products that fit best; without text all, the newest first.

        All words must be found; if no product has them all, any of them; if none has any, words
        of a letter's difference. The last word may be the beginning of one. Never fails because
        of a text; ValueError for a page or limit out of bounds.
        """
        if query.page < 1 or not 1 <= query.limit <= LIMIT_MAX:
            raise ValueError(
                f"page {query.page} of {query.limit} results cannot be shown;"
                f" ask for pages from 1 and limits from 1 to {LIMIT_MAX}"
            )
        if query.page * query.limit > HITS_REACHABLE_MAX:
            return PageTooDeep(page=query.page, limit=query.limit)
        return self._snapshot.page(query)

    def _new_snapshot(self) -> _Snapshot:
        self._index.reload()
        return _Snapshot(self._index.searcher(), self._schema, self._currency)


class _Snapshot:
    """The index as of one commit, with the answers that were asked for often.

    The caches live and die with the snapshot, so that no answer outlives what it was made from.
    """

    def __init__(self, searcher: Searcher, schema: Schema, currency: str) -> None:
        self.searcher = searcher
        self._schema = schema
        self._currency = currency
        self.page = lru_cache(maxsize=CACHED_SEARCHES_MAX)(self._page)
        self._matching = lru_cache(maxsize=CACHED_SEARCHES_MAX)(self._find_matching)

    def _page(self, asked: SearchQuery) -> SearchPage:
        query, total, facets = self._matching(replace(asked, page=1, limit=1))
        offset = (asked.page - 1) * asked.limit
        if offset >= total:
            return SearchPage(hits=(), total=total, facets=facets)
        # Equal scores come in the order of the segment, which is newest first.
        order = None if _words(asked.text) else "newest"
        found = self.searcher.search(
            query, asked.limit, count=False, offset=offset, order_by_field=order
        )
        hits = tuple(_summary(self.searcher.doc(address)) for _, address in found.hits)
        return SearchPage(hits=hits, total=total, facets=facets)

    def _find_matching(self, asked: SearchQuery) -> tuple[Query, int, Facets]:
        filters = list(_filters(self._schema, asked))
        for stage in _stages(self._schema, asked.text):
            query = Query.boolean_query([(Occur.Must, stage), *filters]) if filters else stage
            total, facets = facets_of(self.searcher.aggregate(query, AGGREGATIONS), self._currency)
            if total:
                return query, total, facets
        return Query.empty_query(), 0, Facets()


def _schema() -> Schema:
    builder = SchemaBuilder()
    for field in _FIELD_BOOSTS:
        builder.add_text_field(field, tokenizer_name="stemmed", index_option="freq")
    # As written, not stemmed: what prefixes and misspelt words are compared with.
    builder.add_text_field("words", tokenizer_name="as_written", index_option="basic")
    builder.add_text_field("product_id", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("category_key", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("brand_key", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("category_shown", tokenizer_name="raw", index_option="basic", fast=True)
    builder.add_text_field("brand_shown", tokenizer_name="raw", index_option="basic", fast=True)
    builder.add_unsigned_field("price_minor", indexed=True, fast=True)
    builder.add_unsigned_field("newest", fast=True)
    builder.add_bytes_field("summary", stored=True)
    return builder.build()


def _analyzer(*, stemmed: bool) -> TextAnalyzer:
    builder = TextAnalyzerBuilder(Tokenizer.simple())
    for step in (Filter.remove_long(WORD_LENGTH_MAX), Filter.lowercase(), Filter.ascii_fold()):
        builder = builder.filter(step)
    return (builder.filter(Filter.stemmer("english")) if stemmed else builder).build()


_STEMMED = _analyzer(stemmed=True)
_AS_WRITTEN = _analyzer(stemmed=False)


def _open_index(schema: Schema, path: Path | None) -> Index:
    try:
        index = Index(
            schema,
            None if path is None else str(path),
            sort_by_field="newest",
            sort_order=Order.Desc,
        )
    except ValueError as error:
        raise ValueError(
            f"the search index in {path} is of another version ({error});"
            " delete the folder, it is built anew from the catalog"
        ) from error
    index.config_reader("manual")
    index.register_tokenizer("stemmed", _STEMMED)
    index.register_tokenizer("as_written", _AS_WRITTEN)
    return index


def _document(product: ListedProduct) -> Document:
    document = Document()
    tags = " ".join(product.tags)
    document.add_text("product_id", product.product_id.hex)
    document.add_text("name", product.name)
    document.add_text("brand", product.seller)
    document.add_text("category", product.category)
    document.add_text("tags", tags)
    document.add_text("description", product.description)
    document.add_text("words", f"{product.name} {product.seller} {product.category} {tags}")
    document.add_text("brand_key", _key(product.seller))
    document.add_text("brand_shown", product.seller)
    if product.category:
        document.add_text("category_shown", product.category)
        for key in _category_keys(product.category):
            document.add_text("category_key", key)
    document.add_unsigned("price_minor", product.price_minor)
    document.add_unsigned("newest", _newest(product.product_id))
    document.add_bytes("summary", _pack_summary(product))
    return document


def _newest(product_id: UUID) -> int:
    """Later products have higher numbers: the time and the first random bits of a UUID 7."""
    return product_id.int >> 64


def _pack_summary(product: ListedProduct) -> bytes:
    return orjson.dumps(
        (
            product.product_id.hex,
            product.name,
            product.price_minor,
            product.currency,
            product.seller_id.hex,
            product.seller,
            [
                (variant.variant_id.hex, [pair.inventory_id.hex for pair in variant.pairs])
                for variant in product.variants
            ],
        )
    )


def _summary(document: Document) -> ListedSummary:
    packed = document.get_first("summary")
    assert isinstance(packed, bytes)
    product_id, name, price_minor, currency, seller_id, seller, pairs = orjson.loads(packed)
    return ListedSummary(
        product_id=UUID(product_id),
        name=name,
        price_minor=price_minor,
        currency=currency,
        seller_id=UUID(seller_id),
        seller=seller,
        pairs={
            UUID(variant_id): tuple(map(UUID, inventory_ids)) for variant_id, inventory_ids in pairs
        },
    )


def _encodable(text: str) -> str:
    """The text's beginning without what UTF-8 cannot hold (half a surrogate pair)."""
    return text[:TEXT_LENGTH_MAX].encode("utf-8", "replace").decode("utf-8")


def _key(text: str) -> str:
    """A name as filters compare it: `Home & Kitchen` and `home-kitchen` are the same."""
    return "-".join(_AS_WRITTEN.analyze(_encodable(text)))


def _category_keys(category: str) -> list[str]:
    parts = category.split(">")
    return sorted({_key(" ".join(parts[: depth + 1])) for depth in range(len(parts))})


def _words(text: str) -> list[tuple[str, str]]:
    """The words to look for, each as written and as its stem."""
    text = _encodable(text)
    both = list(zip(_AS_WRITTEN.analyze(text), _STEMMED.analyze(text), strict=True))
    telling = [(written, stem) for written, stem in both if written not in _NOISE]
    return list(dict.fromkeys(telling or both))[:WORDS_MAX]


def _filters(schema: Schema, asked: SearchQuery) -> Iterator[tuple[Occur, Query]]:
    for field, name in (("category_key", asked.category), ("brand_key", asked.brand)):
        if name is not None:
            yield (
                Occur.Must,
                Query.const_score_query(Query.term_query(schema, field, _key(name), "basic"), 0.0),
            )
    lowest, highest = asked.min_price_minor, asked.max_price_minor
    if lowest is not None or highest is not None:
        prices = Query.range_query(
            schema,
            "price_minor",
            FieldType.Unsigned,
            min(max(lowest or 0, 0), _PRICE_CEILING_MINOR),
            _PRICE_CEILING_MINOR if highest is None else min(max(highest, 0), _PRICE_CEILING_MINOR),
        )
        yield Occur.Must, Query.const_score_query(prices, 0.0)


def _stages(schema: Schema, text: str) -> Iterator[Query]:
    """What to try, one after the other, until something is found."""
    words = _words(text)
    if not words:
        yield Query.empty_query() if text.strip() else Query.all_query()
        return
    # A space after the last word says that it is complete.
    typing = text[-1:].isalnum() and len(text) <= TEXT_LENGTH_MAX
    exact = [_word_query(schema, stem) for _, stem in words]
    if typing and (len(words) == 1 or len(words[-1][0]) >= PREFIX_LETTERS_MIN):
        started = Query.fuzzy_term_query(schema, "words", words[-1][0], 0, True, True)
        exact[-1] = Query.disjunction_max_query(
            [exact[-1], Query.const_score_query(started, _PREFIX_SCORE)]
        )
    yield Query.boolean_query([(Occur.Must, query) for query in exact])
    if len(words) > 1:
        yield Query.boolean_query([(Occur.Should, query) for query in exact])
    similar = [
        Query.fuzzy_term_query(schema, "words", written, 1, True, False)
        for written, _ in words
        if len(written) >= FUZZY_LETTERS_MIN
    ]
    if similar:
        yield Query.boolean_query(
            [(Occur.Should, Query.const_score_query(query, _FUZZY_SCORE)) for query in similar]
        )


def _word_query(schema: Schema, stem: str) -> Query:
    in_fields = [
        Query.boost_query(Query.term_query(schema, field, stem, "freq"), boost)
        for field, boost in _FIELD_BOOSTS.items()
    ]
    return Query.disjunction_max_query(in_fields, _OTHER_FIELDS_SHARE)
