"""The shipped matrix holds the published numbers."""

import numpy as np
import pandas as pd

from clustergrid.storage.datasets import endometrial_path, load_endometrial


def test_the_matrix_has_the_published_values():
    rna, _ = load_endometrial()
    assert rna.shape == (28057, 115)
    assert set(rna.dtypes) == {np.dtype("float64")}
    assert rna.index.name == "gene"
    assert rna.index.is_unique
    assert not rna.isna().to_numpy().any()
    # Read from the published text with awk.
    published = {
        ("ESR1", "S001"): 15.75,
        ("ESR1", "S002"): 14.84,
        ("PTEN", "S129"): 13.18,
        ("TP53", "S129"): 10.28,
        ("ZZZ3", "S001"): 11.47,
        ("A1BG", "S003"): 6.24,
    }
    assert {key: rna.loc[key] for key in published} == published
    assert int((rna.min(axis=1) == rna.max(axis=1)).sum()) == 2135


def test_every_number_is_the_double_nearest_to_two_decimals():
    values = np.unique(load_endometrial()[0].to_numpy())
    assert all(float(f"{value:.2f}") == value for value in values)


def test_the_clinical_table_describes_the_same_samples():
    rna, clinical = load_endometrial()
    pd.testing.assert_index_equal(clinical.index, rna.columns, check_names=False)
    assert clinical["tissue"].value_counts().to_dict() == {"Tumor": 101, "Adjacent_normal": 14}
    assert clinical.loc["S001", "genomics_subtype"] == "MSI-H"
    assert clinical["age"].dtype == np.float64
    assert clinical["tp53_mutated"].sum() == 24


def test_the_path_is_a_file():
    assert endometrial_path().stat().st_size < 5_000_000
