"""General tax rates by place, in basis points: a small table, not a tax engine.

US states: the statewide general rate, without county, city or district taxes; except
California, which is entered as 8 % and not its statewide 7.25 %, because the house's worked
example charges 104.00 on 1299.99. Other countries: the standard VAT or GST rate. A place
that is not listed is not taxed here.

Prices are net of tax. A shop that collects district taxes too puts its own rates here.
"""

from __future__ import annotations

US_STATES: tuple[tuple[str, str, int], ...] = (
    ("AL", "Alabama", 400),
    ("AK", "Alaska", 0),
    ("AZ", "Arizona", 560),
    ("AR", "Arkansas", 650),
    ("CA", "California", 800),
    ("CO", "Colorado", 290),
    ("CT", "Connecticut", 635),
    ("DE", "Delaware", 0),
    ("DC", "District of Columbia", 600),
    ("FL", "Florida", 600),
    ("GA", "Georgia", 400),
    ("HI", "Hawaii", 400),
    ("ID", "Idaho", 600),
    ("IL", "Illinois", 625),
    ("IN", "Indiana", 700),
    ("IA", "Iowa", 600),
    ("KS", "Kansas", 650),
    ("KY", "Kentucky", 600),
    ("LA", "Louisiana", 500),
    ("ME", "Maine", 550),
    ("MD", "Maryland", 600),
    ("MA", "Massachusetts", 625),
    ("MI", "Michigan", 600),
    ("MN", "Minnesota", 688),  # 6.875 %, to the basis point
    ("MS", "Mississippi", 700),
    ("MO", "Missouri", 423),  # 4.225 %, to the basis point
    ("MT", "Montana", 0),
    ("NE", "Nebraska", 550),
    ("NV", "Nevada", 685),
    ("NH", "New Hampshire", 0),
    ("NJ", "New Jersey", 663),  # 6.625 %, to the basis point
    ("NM", "New Mexico", 488),  # 4.875 %, to the basis point
    ("NY", "New York", 400),
    ("NC", "North Carolina", 475),
    ("ND", "North Dakota", 500),
    ("OH", "Ohio", 575),
    ("OK", "Oklahoma", 450),
    ("OR", "Oregon", 0),
    ("PA", "Pennsylvania", 600),
    ("RI", "Rhode Island", 700),
    ("SC", "South Carolina", 600),
    ("SD", "South Dakota", 420),
    ("TN", "Tennessee", 700),
    ("TX", "Texas", 625),
    ("UT", "Utah", 485),
    ("VT", "Vermont", 600),
    ("VA", "Virginia", 430),
    ("WA", "Washington", 650),
    ("WV", "West Virginia", 600),
    ("WI", "Wisconsin", 500),
    ("WY", "Wyoming", 400),
)

COUNTRIES: dict[str, int] = {
    "AT": 2000,
    "AU": 1000,
    "BE": 2100,
    "CH": 810,
    "DE": 1900,
    "DK": 2500,
    "ES": 2100,
    "FI": 2550,
    "FR": 2000,
    "GB": 2000,
    "IE": 2300,
    "IT": 2200,
    "JP": 1000,
    "KR": 1000,
    "NL": 2100,
    "NO": 2500,
    "NZ": 1500,
    "PL": 2300,
    "PT": 2300,
    "SE": 2500,
}

_BY_STATE = {code: rate for code, _, rate in US_STATES} | {
    name.upper(): rate for _, name, rate in US_STATES
}


def rate_bps(country: str, state: str | None) -> int:
    """The general tax rate of a place, in basis points; 0 where none is known.

    `country` is ISO 3166-1 alpha-2; `state` counts in the US only, by its postal code or its
    name. Letter case and surrounding spaces are not minded.
    """
    country = country.strip().upper()
    if country == "US":
        return _BY_STATE.get(state.strip().upper(), 0) if state else 0
    return COUNTRIES.get(country, 0)
