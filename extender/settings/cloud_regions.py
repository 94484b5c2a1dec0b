"""Which grid serves a cloud region: Electricity Maps zone ids by region name of the large clouds.

Sources: the providers' public lists of regions and their locations (AWS "Regions and Availability Zones",
Google Cloud "Regions and zones", Azure "Azure geographies"), and the zone ids of Electricity Maps'
public zone list. A location is assigned to the balancing area whose territory it lies in. Where a region
spans more than one area, or its location is published only as a country with several price zones and no
city, it is left out: unknown is neutral, a wrong grid is not. `carbon_zone_by_place` adds and overrides.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_REGIONS_BY_ZONE: Final[Mapping[str, str]] = {
    # North America
    "US-MIDA-PJM": "us-east-1 us-east-2 us-east4 us-east5 eastus eastus2",
    "US-CAL-CISO": "us-west-1 westus",
    "US-CAL-LDWP": "us-west2",
    "US-NW-PACW": "us-west-2",
    "US-NW-BPAT": "us-west1",
    "US-NW-GCPD": "westus2",
    "US-NW-PACE": "us-west3",
    "US-NW-NEVP": "us-west4",
    "US-SW-SRP": "westus3",
    "US-CAR-SC": "us-east1",
    "US-MIDW-MISO": "centralus",
    "US-TEX-ERCO": "us-south1 southcentralus",
    "CA-QC": "ca-central-1 northamerica-northeast1 canadaeast",
    "CA-ON": "northamerica-northeast2 canadacentral",
    "CA-AB": "ca-west-1",
    # South America
    "BR-CS": "sa-east-1 southamerica-east1 brazilsouth",
    "CL-SEN": "southamerica-west1 chilecentral",
    # Europe
    "IE": "eu-west-1 northeurope",
    "GB": "eu-west-2 europe-west2 uksouth ukwest",
    "FR": "eu-west-3 europe-west9 francecentral",
    "DE": "eu-central-1 europe-west3 europe-west10 germanywestcentral",
    "CH": "eu-central-2 europe-west6 switzerlandnorth switzerlandwest",
    "ES": "eu-south-2 europe-southwest1 spaincentral",
    "IT-NO": "eu-south-1 europe-west8 europe-west12 italynorth",
    "SE-SE3": "eu-north-1 swedencentral",
    "FI": "europe-north1",
    "BE": "europe-west1 belgiumcentral",
    "NL": "europe-west4 westeurope",
    "PL": "europe-central2 polandcentral",
    "NO-NO1": "norwayeast",
    "AT": "austriaeast",
    # Africa and the Middle East
    "ZA": "af-south-1 africa-south1 southafricanorth southafricawest",
    "IL": "il-central-1 me-west1 israelcentral",
    "AE": "me-central-1 uaenorth uaecentral",
    "BH": "me-south-1",
    "QA": "me-central1 qatarcentral",
    # Asia and Oceania
    "JP-TK": "ap-northeast-1 asia-northeast1 japaneast",
    "JP-KN": "ap-northeast-3 asia-northeast2 japanwest",
    "KR": "ap-northeast-2 asia-northeast3 koreacentral koreasouth",
    "TW": "asia-east1",
    "HK": "ap-east-1 asia-east2 eastasia",
    "SG": "ap-southeast-1 asia-southeast1 southeastasia",
    "ID": "ap-southeast-3 asia-southeast2 indonesiacentral",
    "MY-WM": "ap-southeast-5 malaysiawest",
    "IN-WE": "ap-south-1 asia-south1 centralindia westindia",
    "IN-SO": "ap-south-2 southindia",
    "IN-NO": "asia-south2",
    "AU-NSW": "ap-southeast-2 australia-southeast1 australiaeast",
    "AU-VIC": "ap-southeast-4 australia-southeast2 australiasoutheast",
    "NZ": "newzealandnorth",
}

ZONE_BY_REGION: Final[Mapping[str, str]] = MappingProxyType(
    {region: zone for zone, regions in _REGIONS_BY_ZONE.items() for region in regions.split()}
)
"""Electricity Maps zone id by cloud region, as in the node label `topology.kubernetes.io/region`."""
