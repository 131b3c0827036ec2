"""DICOM files that tests write."""

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid


def dataset(pixels, *, photometric="MONOCHROME2", bits=12, signed=False, patient="A", **tags):
    """A DICOM file of one picture, as little of it as is a picture."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    found.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    found.SOPClassUID, found.SOPInstanceUID = (
        found.file_meta.MediaStorageSOPClassUID,
        found.file_meta.MediaStorageSOPInstanceUID,
    )
    found.Rows, found.Columns = pixels.shape[:2]
    found.SamplesPerPixel = 1 if pixels.ndim == 2 else pixels.shape[2]
    found.PhotometricInterpretation = photometric
    found.BitsAllocated = 8 * pixels.dtype.itemsize
    found.BitsStored, found.HighBit, found.PixelRepresentation = bits, bits - 1, int(signed)
    if pixels.ndim == 3:
        found.PlanarConfiguration = 0
    found.PatientID = patient
    for name, value in tags.items():
        setattr(found, name, value)
    found.PixelData = pixels.tobytes()
    return found
