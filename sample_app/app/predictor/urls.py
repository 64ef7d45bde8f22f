"""The routes. ``/health`` isn't here: `predictor.health` answers it before anything else looks at the request."""

from django.urls import path

from predictor import refusals, views

urlpatterns = [
    path("", views.page, name="page"),
    path("predict", views.predict, name="predict"),
]
handler400 = refusals.bad_request
