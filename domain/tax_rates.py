"""General tax rates by place, in parts per million: a table, not a tax engine.

US states: the statewide general rate, without county, city or district taxes; except
California, which is entered as 8 % and not its statewide 7.25 %, because the house's worked
example charges 104.00 on 1299.99. Canada: federal and provincial tax together (GST, HST, PST or
QST); without a province the federal 5 %. Other countries: the standard VAT, GST or consumption
tax. Reduced rates, thresholds, and what sellers abroad need not collect are not looked at.
A place that is not listed is not taxed here.

Stated for January 2026 and entered by hand. Those of the EU, Switzerland, Norway and Great Britain
were compared with published lists; none was checked with a tax authority, so have yours checked
before you sell by them, or ask a tax service. Of India and China the
most usual rate; of Indonesia the effective one; of Viet Nam without the passing reduction.
They change: check them before you sell, or ask a tax service (docs/pricing.md).

Prices are net of tax. Parts per million, since 14.975 % is no whole number of basis points.
"""

from __future__ import annotations

from functools import lru_cache

from domain.tax import PPM_PER_PERCENT, TaxAnswer

PLACES_KEPT_MAX = 4_096  # answers remembered; there are fewer places

US_STATES: tuple[tuple[str, str, int], ...] = (
    ("AL", "Alabama", 40_000),
    ("AK", "Alaska", 0),
    ("AZ", "Arizona", 56_000),
    ("AR", "Arkansas", 65_000),
    ("CA", "California", 80_000),
    ("CO", "Colorado", 29_000),
    ("CT", "Connecticut", 63_500),
    ("DE", "Delaware", 0),
    ("DC", "District of Columbia", 60_000),
    ("FL", "Florida", 60_000),
    ("GA", "Georgia", 40_000),
    ("HI", "Hawaii", 40_000),
    ("ID", "Idaho", 60_000),
    ("IL", "Illinois", 62_500),
    ("IN", "Indiana", 70_000),
    ("IA", "Iowa", 60_000),
    ("KS", "Kansas", 65_000),
    ("KY", "Kentucky", 60_000),
    ("LA", "Louisiana", 50_000),
    ("ME", "Maine", 55_000),
    ("MD", "Maryland", 60_000),
    ("MA", "Massachusetts", 62_500),
    ("MI", "Michigan", 60_000),
    ("MN", "Minnesota", 68_750),
    ("MS", "Mississippi", 70_000),
    ("MO", "Missouri", 42_250),
    ("MT", "Montana", 0),
    ("NE", "Nebraska", 55_000),
    ("NV", "Nevada", 68_500),
    ("NH", "New Hampshire", 0),
    ("NJ", "New Jersey", 66_250),
    ("NM", "New Mexico", 48_750),
    ("NY", "New York", 40_000),
    ("NC", "North Carolina", 47_500),
    ("ND", "North Dakota", 50_000),
    ("OH", "Ohio", 57_500),
    ("OK", "Oklahoma", 45_000),
    ("OR", "Oregon", 0),
    ("PA", "Pennsylvania", 60_000),
    ("RI", "Rhode Island", 70_000),
    ("SC", "South Carolina", 60_000),
    ("SD", "South Dakota", 42_000),
    ("TN", "Tennessee", 70_000),
    ("TX", "Texas", 62_500),
    ("UT", "Utah", 48_500),
    ("VT", "Vermont", 60_000),
    ("VA", "Virginia", 43_000),
    ("WA", "Washington", 65_000),
    ("WV", "West Virginia", 60_000),
    ("WI", "Wisconsin", 50_000),
    ("WY", "Wyoming", 40_000),
)

CA_PROVINCES: tuple[tuple[str, str, int], ...] = (
    ("AB", "Alberta", 50_000),
    ("BC", "British Columbia", 120_000),
    ("MB", "Manitoba", 120_000),
    ("NB", "New Brunswick", 150_000),
    ("NL", "Newfoundland and Labrador", 150_000),
    ("NS", "Nova Scotia", 140_000),
    ("NT", "Northwest Territories", 50_000),
    ("NU", "Nunavut", 50_000),
    ("ON", "Ontario", 130_000),
    ("PE", "Prince Edward Island", 150_000),
    ("QC", "Quebec", 149_750),
    ("SK", "Saskatchewan", 110_000),
    ("YT", "Yukon", 50_000),
)
CANADA_FEDERAL = 5 * PPM_PER_PERCENT

COUNTRIES: dict[str, int] = {
    "AE": 50_000,
    "AR": 210_000,
    "AT": 200_000,
    "AU": 100_000,
    "BE": 210_000,
    "BG": 200_000,
    "BH": 100_000,
    "CH": 81_000,
    "CL": 190_000,
    "CN": 130_000,
    "CO": 190_000,
    "CR": 130_000,
    "CY": 190_000,
    "CZ": 210_000,
    "DE": 190_000,
    "DK": 250_000,
    "DO": 180_000,
    "EC": 150_000,
    "EE": 240_000,
    "EG": 140_000,
    "ES": 210_000,
    "FI": 255_000,
    "FR": 200_000,
    "GB": 200_000,
    "GR": 240_000,
    "HR": 250_000,
    "HU": 270_000,
    "ID": 110_000,
    "IE": 230_000,
    "IL": 180_000,
    "IN": 180_000,
    "IS": 240_000,
    "IT": 220_000,
    "JP": 100_000,
    "KE": 160_000,
    "KR": 100_000,
    "LI": 81_000,
    "LT": 210_000,
    "LU": 170_000,
    "LV": 210_000,
    "MA": 200_000,
    "MT": 180_000,
    "MX": 160_000,
    "NG": 75_000,
    "NL": 210_000,
    "NO": 250_000,
    "NZ": 150_000,
    "OM": 50_000,
    "PE": 180_000,
    "PH": 120_000,
    "PL": 230_000,
    "PT": 230_000,
    "PY": 100_000,
    "RO": 210_000,
    "RS": 200_000,
    "SA": 150_000,
    "SE": 250_000,
    "SG": 90_000,
    "SI": 220_000,
    "SK": 230_000,
    "TH": 70_000,
    "TR": 200_000,
    "TW": 50_000,
    "UA": 200_000,
    "UY": 220_000,
    "VN": 100_000,
    "ZA": 150_000,
}

_BY_STATE = {
    country: {code: (code, rate) for code, _, rate in table}
    | {name.upper(): (code, rate) for code, name, rate in table}
    for country, table in (("US", US_STATES), ("CA", CA_PROVINCES))
}
_WITHOUT_STATE = {"US": 0, "CA": CANADA_FEDERAL}


def rate_ppm(country: str, state: str | None) -> int:
    """The general tax rate of a place, in parts per million; 0 where none is known.

    `country` is ISO 3166-1 alpha-2; `state` counts in the US and in Canada, by its postal code or
    its name. Letter case and surrounding spaces are not minded.
    """
    return tax_of(country, state).rates_ppm[0]


@lru_cache(maxsize=PLACES_KEPT_MAX)
def tax_of(country: str, state: str | None) -> TaxAnswer:
    """The same as an answer of a tax service, with one rate for every line."""
    country = country.strip().upper()
    states = _BY_STATE.get(country)
    if states is None:
        rate = COUNTRIES.get(country, 0)
        return TaxAnswer(rates_ppm=(rate,), place=country, source="table")
    code, rate = states.get((state or "").strip().upper(), ("", _WITHOUT_STATE[country]))
    place = f"{country}-{code}" if code else country
    return TaxAnswer(rates_ppm=(rate,), place=place, source="table")
