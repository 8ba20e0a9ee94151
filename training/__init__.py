"""How the starter model was made: pictures drawn by code, training, evaluation, export."""
