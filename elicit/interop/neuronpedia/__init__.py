"""Files that a Neuronpedia instance imports: the features of a local SAE with their activations, and steering vectors.

The layout and the field names are those of Neuronpedia's own exports (github.com/hijohnnylin/neuronpedia: the tables of
`apps/webapp/prisma/schema.prisma`, the folders of `utils/neuronpedia-utils`). Nothing is sent anywhere.
"""

from elicit.interop.neuronpedia.folder import check_export, write_neuronpedia_export
from elicit.interop.neuronpedia.vectors import build_vector_request

__all__ = ["build_vector_request", "check_export", "write_neuronpedia_export"]
