"""Where places are, roughly: the middle of countries and of US states, in degrees.

Good enough to tell which warehouse is nearer to a buyer, and for nothing else. An address may
carry its own coordinates; postal codes are not looked at.
"""

from __future__ import annotations

from typing import NamedTuple

from domain.tax_rates import US_STATES

LAT_MAX = 90.0
LON_MAX = 180.0


class Coordinates(NamedTuple):
    """A point on the earth in degrees: north and east are positive."""

    lat: float
    lon: float


class Site(NamedTuple):
    """Where something is: a country (ISO 3166-1 alpha-2), and the point if one is known."""

    country: str
    coordinates: Coordinates | None


def site_of(country: str, state: str | None = None) -> Site:
    """The middle of a US state, else of a country; without coordinates where neither is known.

    A state counts in the US only, by its postal code or its name. Letter case and surrounding
    spaces are not minded.
    """
    country = country.strip().upper()
    if country == "US" and state:
        code = state.strip().upper()
        middle = _STATES.get(_STATE_CODES.get(code, code))
        if middle is not None:
            return Site(country, middle)
    return Site(country, _COUNTRIES.get(country))


_STATE_CODES = {name.upper(): code for code, name, _ in US_STATES}


def _table(text: str) -> dict[str, Coordinates]:
    """`code lat lon` by three, as written below: data to be read, not rows of syntax."""
    cells = text.split()
    return {
        code: Coordinates(float(lat), float(lon))
        for code, lat, lon in zip(cells[::3], cells[1::3], cells[2::3], strict=True)
    }


_STATES = _table(
    """
    AL 32.8 -86.8   AK 64.1 -152.3  AZ 34.3 -111.7  AR 34.9 -92.4   CA 37.2 -119.3  CO 39.0 -105.5
    CT 41.6 -72.7   DE 39.0 -75.5   DC 38.9 -77.0   FL 28.6 -82.4   GA 32.6 -83.4   HI 20.3 -156.4
    ID 44.4 -114.6  IL 40.0 -89.2   IN 39.9 -86.3   IA 42.1 -93.5   KS 38.5 -98.4   KY 37.5 -85.3
    LA 31.1 -92.0   ME 45.4 -69.2   MD 39.0 -76.8   MA 42.3 -71.8   MI 44.3 -85.4   MN 46.3 -94.3
    MS 32.7 -89.7   MO 38.4 -92.5   MT 47.0 -109.6  NE 41.5 -99.8   NV 39.3 -116.6  NH 43.7 -71.6
    NJ 40.2 -74.7   NM 34.4 -106.1  NY 42.9 -75.5   NC 35.6 -79.4   ND 47.4 -100.5  OH 40.3 -82.8
    OK 35.6 -97.5   OR 43.9 -120.6  PA 40.9 -77.8   RI 41.7 -71.6   SC 33.9 -80.9   SD 44.4 -100.2
    TN 35.9 -86.4   TX 31.5 -99.3   UT 39.3 -111.7  VT 44.1 -72.7   VA 37.5 -78.9   WA 47.4 -120.4
    WV 38.6 -80.6   WI 44.6 -90.0   WY 43.0 -107.6
    """
)

_COUNTRIES = _table(
    """
    AD 42.5 1.5     AE 23.9 54.3    AL 41.1 20.1    AM 40.3 44.9    AR -35.4 -65.2  AT 47.6 14.1
    AU -25.7 134.5  AZ 40.3 47.5    BA 44.2 17.8    BB 13.2 -59.6   BD 23.9 90.2    BE 50.6 4.6
    BG 42.8 25.2    BH 26.0 50.5    BN 4.5 114.7    BO -16.7 -64.7  BR -10.8 -53.1  BS 24.7 -78.0
    BW -22.2 23.8   BY 53.5 28.0    BZ 17.2 -88.7   CA 61.4 -98.3   CH 46.8 8.2     CI 7.6 -5.6
    CL -37.7 -71.4  CM 5.7 12.7     CN 36.6 103.8   CO 3.9 -73.1    CR 10.0 -84.2   CU 21.6 -79.0
    CY 35.0 33.0    CZ 49.7 15.3    DE 51.1 10.4    DK 56.0 10.0    DO 18.9 -70.5   DZ 28.2 2.6
    EC -1.4 -78.8   EE 58.7 25.5    EG 26.5 29.9    ES 40.2 -3.6    ET 8.6 39.6     FI 64.5 26.3
    FJ -17.4 178.0  FR 46.6 2.5     GB 54.1 -2.9    GE 42.2 43.5    GH 8.0 -1.2     GR 39.1 22.9
    GT 15.7 -90.4   HK 22.4 114.1   HN 14.8 -86.6   HR 45.1 16.4    HU 47.2 19.4    ID -2.2 117.2
    IE 53.2 -8.1    IL 31.5 35.0    IN 22.9 79.6    IQ 33.0 43.7    IS 65.0 -18.6   IT 42.8 12.1
    JM 18.2 -77.3   JO 31.2 36.8    JP 37.6 138.0   KE 0.6 37.8     KG 41.5 74.5    KH 12.7 104.9
    KR 36.4 127.8   KW 29.3 47.6    KZ 48.2 67.3    LA 18.5 103.7   LB 33.9 35.9    LI 47.1 9.5
    LK 7.6 80.7     LT 55.3 23.9    LU 49.8 6.1     LV 56.9 24.9    MA 29.8 -8.5    MC 43.7 7.4
    MD 47.2 28.5    ME 42.8 19.2    MG -19.4 46.7   MK 41.6 21.7    MM 21.2 96.5    MN 46.8 103.1
    MO 22.2 113.5   MT 35.9 14.4    MU -20.3 57.6   MX 23.9 -102.5  MY 3.8 109.7    MZ -17.3 35.5
    NA -22.1 17.2   NG 9.6 8.1      NI 12.8 -85.0   NL 52.1 5.3     NO 64.5 13.0    NP 28.2 83.9
    NZ -41.8 171.5  OM 20.6 56.1    PA 8.5 -80.1    PE -9.2 -74.4   PG -6.5 145.2   PH 11.8 122.9
    PK 30.0 69.3    PL 52.1 19.4    PR 18.2 -66.5   PT 39.6 -8.5    PY -23.2 -58.4  QA 25.3 51.2
    RO 45.9 25.0    RS 44.2 20.8    RU 55.8 49.1    RW -2.0 29.9    SA 24.1 44.5    SE 62.8 16.7
    SG 1.4 103.8    SI 46.1 14.8    SK 48.7 19.5    SN 14.4 -14.5   SV 13.7 -88.9   TH 15.1 101.0
    TN 34.1 9.6     TR 39.1 35.2    TT 10.5 -61.3   TW 23.8 121.0   TZ -6.3 34.8    UA 49.0 31.4
    UG 1.3 32.4     US 39.8 -98.6   UY -32.8 -56.0  UZ 41.8 63.1    VE 7.1 -66.2    VN 16.6 106.3
    XK 42.6 20.9    ZA -29.0 25.1   ZM -13.5 27.8   ZW -19.0 29.9
    """
)

__all__ = ["LAT_MAX", "LON_MAX", "Coordinates", "Site", "site_of"]
