"""The scores as one would compute them: label lists through scikit-learn, one regression after the other."""

import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score


def part_scores(prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """NMI and ARI in percent over the foreground (target above 0) and over everything; labels of any shape."""
    found, wanted = prediction.ravel(), target.ravel()
    inside = wanted > 0
    return {
        "fg_nmi": 100 * normalized_mutual_info_score(wanted[inside], found[inside]),
        "fg_ari": 100 * adjusted_rand_score(wanted[inside], found[inside]),
        "nmi": 100 * normalized_mutual_info_score(wanted, found),
        "ari": 100 * adjusted_rand_score(wanted, found),
    }


def keypoint_error(
    train_centers: np.ndarray, train_keypoints: np.ndarray, test_centers: np.ndarray, test_keypoints: np.ndarray
) -> float:
    """Mean distance of regressed keypoints, percent; centers (N, K, 2), keypoints (N, M, 3), coordinates in [0, 1]."""
    inputs, queries = train_centers.reshape(len(train_centers), -1), test_centers.reshape(len(test_centers), -1)
    distances = []
    for k in range(train_keypoints.shape[1]):
        seen, asked = train_keypoints[:, k, 2] > 0, test_keypoints[:, k, 2] > 0
        x, y = inputs[seen], train_keypoints[seen, k, :2]
        x_mean, x_std, y_mean, y_std = x.mean(0), x.std(0), y.mean(0), y.std(0)
        model = LinearRegression(fit_intercept=False).fit((x - x_mean) / x_std, (y - y_mean) / y_std)
        for query, keypoint in zip(queries[asked], test_keypoints[asked, k, :2], strict=True):
            found = model.predict(((query - x_mean) / x_std)[None])[0] * y_std + y_mean
            distances.append(np.linalg.norm(found - keypoint))
    return 100 * float(np.mean(distances))
