"""The address of the database of Dagster's records."""

import pytest

from ifcb_flow_pipeline.store.database import Database, DatabaseError, database_of

WORD = "a-secret-word"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_every_way_to_name_postgresql_becomes_the_one_that_dagster_can_use(scheme):
    found = database_of({"IFCB_DAGSTER_DB": f"{scheme}://dagster:{WORD}@db:5433/records?sslmode=require"})
    assert found == Database(f"postgresql+psycopg2://dagster:{WORD}@db:5433/records?sslmode=require")


def test_without_the_setting_there_is_no_database():
    assert database_of({}) is None
    assert database_of({"IFCB_DAGSTER_DB": " "}) is None


def test_a_socket_in_place_of_a_host_will_do():
    assert database_of({"IFCB_DAGSTER_DB": "postgresql://dagster@/records?host=/run/postgresql"}) is not None


@pytest.mark.parametrize(
    "text",
    [
        f"mysql://dagster:{WORD}@db/records",
        f"dagster:{WORD}@db/records",
        f"postgresql://dagster:{WORD}@db",
        f"postgresql://dagster:{WORD}@db:nine/records",
        f"postgresql://dagster:{WORD}@/records",
        f"postgresql://dagster:{WORD}@[db/records",
    ],
)
def test_what_is_no_address_is_refused_with_an_example_and_is_not_repeated(text):
    with pytest.raises(DatabaseError, match=r"IFCB_DAGSTER_DB .* such as postgresql://dagster@") as refused:
        database_of({"IFCB_DAGSTER_DB": text})
    assert WORD not in str(refused.value)


def test_a_database_is_shown_without_its_password():
    found = database_of({"IFCB_DAGSTER_DB": f"postgresql://dagster:{WORD}@db:5433/records?password={WORD}"})
    assert str(found) == "postgresql://dagster@db:5433/records"
    assert WORD not in repr(found)
